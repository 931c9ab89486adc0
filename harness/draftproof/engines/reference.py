"""The reference engine: this project's own decoding on a pair of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig, is_own_part
from draftproof.decoding import Step, plain_decode, speculate
from draftproof.drafting import Drafter
from draftproof.drafting.timed import TimedDrafter
from draftproof.draw_log import log_draws
from draftproof.engines.own_parts import place_of
from draftproof.engines.parts import Parts, make_parts
from draftproof.engines.protocol import Capability, Generation, Request
from draftproof.engines.rows import RowDecoding, make_row_decoding
from draftproof.engines.sites import accepted_tokens
from draftproof.environment import versions
from draftproof.errors import EngineError
from draftproof.lossless.state import StepChecker
from draftproof.models.loading import ModelPair
from draftproof.models.timed import TimedLM
from draftproof.randomness import Draw, SeededRandomness
from draftproof.recording import StepSeconds
from draftproof.shapes import LookupShape
from draftproof.stopwatch import Clock, Stopwatch


class ReferenceEngine:
    """Decodes on a pair of models, and tells every step and node.

    Args:
        pair: Target, draft model and tokenizer.
        config: The run's settings: tree, rule, state checks and log of draws are used.
        rule: In place of the settings' acceptance rule, for one that is under test.
        drafter: In place of the settings' drafter, likewise.
    """

    name = "reference"
    capabilities = frozenset(Capability) - {
        Capability.CANCELS,
        Capability.DRAFT_LENGTH,
        Capability.LOG_PROBABILITIES,
        Capability.STREAMS,
    }

    _rows: RowDecoding | None = None
    """Decodes in batches, where no part is one of a user's own."""

    def __init__(
        self,
        pair: ModelPair,
        config: RunConfig,
        *,
        rule: AcceptanceRule | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        parts = make_parts(pair.target, pair.draft, config, rule=rule, drafter=drafter)
        self._assemble(parts, config)
        # A subclass that decodes in a way of its own would be passed over by `generate`.
        is_ours = type(self).speculate is ReferenceEngine.speculate
        is_ours &= rule is None and drafter is None and not config.has_own_parts
        if drafter is not None or config.drafter is not None:
            self._parts_named = {"drafter": config.drafter or place_of(drafter)}
            # What a drafter of the user's own asks of the draft model, if anything, is not known.
            self.capabilities = self.capabilities - {Capability.PAIR_DRAFT}
        if rule is not None or is_own_part(config.rule):
            own = place_of(rule) if rule is not None else config.rule
            self._parts_named = {**self._parts_named, "own rule": own}
        if is_ours and config.draw_log is None:
            self._rows = make_row_decoding(
                parts.target,
                None if isinstance(config.tree, LookupShape) else parts.draft,
                config.tree,
                parts.rule.name,
                checker=self._checker,
                clock=self._clock,
            )
        if self._rows is not None:
            self.capabilities = type(self).capabilities

    @classmethod
    def without_drafts(cls, pair: ModelPair, config: RunConfig) -> Self:
        """An engine for plain decoding alone, which needs no draft model."""
        return cls(pair, replace(config, tree=LookupShape(1), rule="auto", drafter=None))

    @classmethod
    def of(cls, parts: Parts, config: RunConfig) -> Self:
        """An engine of given parts, any of which may be under test.

        Args:
            parts: What it decodes with; models may be any `CausalLM`.
            config: The run's settings: state checks are used.
        """
        engine = cls.__new__(cls)
        engine._assemble(parts, config)
        return engine

    def _assemble(self, parts: Parts, config: RunConfig) -> None:
        self._parts = parts
        self.capabilities = self.capabilities - {Capability.BATCHES}
        self._clock = Clock(getattr(parts.target, "device", torch.device("cpu")))
        self._draft_watch = Stopwatch(self._clock)
        self._verify_watch = Stopwatch(self._clock)
        self._drafter = TimedDrafter(parts.drafter, self._draft_watch)
        self._parts_named = {"tree": str(config.tree)}
        self._draw_log = None if config.draw_log is None else Path(config.draw_log)
        self._checker = (
            StepChecker(
                parts.target, parts.draft, new_drafter=parts.new_drafter, share=config.check_state
            )
            if config.check_state
            else None
        )

    def speculate(self, request: Request) -> Generation:
        """Decode with a drafter's help.

        Raises:
            DraftproofError: The prompt does not fit, a model returned what no probability can be
                made of, or a state check failed.
        """
        if self._rows is not None:
            return _only(self._rows.speculate([request], 1))
        parts, clock = self._parts, self._clock
        already_stopped = clock.stopped_seconds
        recorder = parts.make_recorder(self._step_seconds)
        watch = Stopwatch(clock)

        def observe(step: Step, committed: tuple[int, ...]) -> None:
            with clock.stopped():
                recorder(step, committed)
                parts.observe(step, committed)
                if self._checker:
                    self._checker(step, committed)

        with log_draws(self._draw_log, request.request_id) as log:
            randomness = parts.make_randomness(
                request.seed, request.request_id, log and _off_the_clock(log, clock)
            )
            target = TimedLM(parts.target, self._verify_watch)
            with watch.running():
                output = speculate(
                    request.prompt_token_ids,
                    target,
                    self._drafter,
                    parts.rule,
                    sampling=request.sampling,
                    stopping=parts.stopping(request.stopping),
                    randomness=randomness,
                    observe=observe,
                    make_law=parts.make_law,
                )
        with clock.stopped():
            steps, nodes = recorder.steps, recorder.nodes
        return Generation(
            token_ids=output.token_ids,
            stop_reason=str(output.stop_reason),
            seconds=watch.seconds,
            watching_seconds=clock.stopped_seconds - already_stopped,
            accepted=accepted_tokens(steps, len(output.token_ids)),
            counts=parts.counts(steps),
            steps=steps,
            nodes=nodes,
            draws={str(purpose): count for purpose, count in randomness.draws.items()},
        )

    def plain(self, request: Request) -> Generation:
        """Decode with the target alone, one token a forward pass."""
        if self._rows is not None:
            return _only(self._rows.plain([request], 1))
        randomness = SeededRandomness(request.seed, request.request_id)
        watch = Stopwatch(self._clock)
        with watch.running():
            output = plain_decode(
                request.prompt_token_ids,
                self._parts.target,
                sampling=request.sampling,
                stopping=request.stopping,
                randomness=randomness,
            )
        return Generation(
            token_ids=output.token_ids, stop_reason=str(output.stop_reason), seconds=watch.seconds
        )

    def generate(
        self, requests: Iterable[Request], *, most_rows: int, plainly: bool = False
    ) -> Iterator[tuple[int, Generation]]:
        """Decode requests as rows of one batch; see `BatchEngine`.

        Raises:
            EngineError: This engine is made of parts that decode one sequence at a time.
            DraftproofError: As `speculate`.
        """
        if self._rows is None:
            raise EngineError(
                "this engine decodes one sequence at a time: its models or its rule cannot be "
                "batched"
            )
        decode = self._rows.plain if plainly else self._rows.speculate
        return decode(requests, most_rows)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": versions()["draftproof"],
            **self._parts_named,
            "rule": self._parts.rule.name,
        }

    def close(self) -> None:
        """Nothing to free: the models belong to the pair."""

    def _step_seconds(self) -> StepSeconds:
        return StepSeconds(self._draft_watch.take(), self._verify_watch.take())


def _only(answers: Iterator[tuple[int, Generation]]) -> Generation:
    """The answer to a single request."""
    [(_, generation)] = answers
    return generation


def _off_the_clock(observe: Callable[[Draw], None], clock: Clock) -> Callable[[Draw], None]:
    """The observer of draws, which takes no time."""

    def watch(draw: Draw) -> None:
        with clock.stopped():
            observe(draw)

    return watch
