"""The reference engine: this project's own decoding on a pair of models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig
from draftproof.decoding import Step, plain_decode, speculate
from draftproof.drafting import Drafter
from draftproof.drafting.timed import TimedDrafter
from draftproof.draw_log import log_draws
from draftproof.engines.parts import Parts, make_parts
from draftproof.engines.protocol import Capability, Generation, Request
from draftproof.environment import versions
from draftproof.lossless.state import StepChecker
from draftproof.models.loading import ModelPair
from draftproof.models.timed import TimedLM
from draftproof.randomness import Draw, SeededRandomness
from draftproof.recording import StepSeconds
from draftproof.shapes import LookupShape
from draftproof.stopwatch import Clock, Stopwatch
from draftproof.trace import Columns


class ReferenceEngine:
    """Decodes on a pair of models, and tells every step and node.

    Args:
        pair: Target, draft model and tokenizer.
        config: The run's settings: tree, rule, state checks and log of draws are used.
        rule: In place of the settings' acceptance rule, for one that is under test.
        drafter: In place of the settings' drafter, likewise.
    """

    name = "reference"
    capabilities = frozenset(Capability) - {Capability.DRAFT_LENGTH, Capability.LOG_PROBABILITIES}

    def __init__(
        self,
        pair: ModelPair,
        config: RunConfig,
        *,
        rule: AcceptanceRule | None = None,
        drafter: Drafter | None = None,
    ) -> None:
        self._assemble(
            make_parts(pair.target, pair.draft, config, rule=rule, drafter=drafter), config
        )

    @classmethod
    def without_drafts(cls, pair: ModelPair, config: RunConfig) -> Self:
        """An engine for plain decoding alone, which needs no draft model."""
        return cls(pair, replace(config, tree=LookupShape(1), rule="auto"))

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
        self._clock = Clock(getattr(parts.target, "device", torch.device("cpu")))
        self._draft_watch = Stopwatch(self._clock)
        self._verify_watch = Stopwatch(self._clock)
        self._drafter = TimedDrafter(parts.drafter, self._draft_watch)
        self._tree = str(config.tree)
        self._draw_log = None if config.draw_log is None else Path(config.draw_log)
        self._checker = config.check_state and StepChecker(
            parts.target, parts.draft, new_drafter=parts.new_drafter, share=config.check_state
        )

    def speculate(self, request: Request) -> Generation:
        """Decode with a drafter's help.

        Raises:
            DraftproofError: The prompt does not fit, a model returned what no probability can be
                made of, or a state check failed.
        """
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

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": versions()["draftproof"],
            "tree": self._tree,
            "rule": self._parts.rule.name,
        }

    def close(self) -> None:
        """Nothing to free: the models belong to the pair."""

    def _step_seconds(self) -> StepSeconds:
        return StepSeconds(self._draft_watch.take(), self._verify_watch.take())


def _off_the_clock(observe: Callable[[Draw], None], clock: Clock) -> Callable[[Draw], None]:
    """The observer of draws, which takes no time."""

    def watch(draw: Draw) -> None:
        with clock.stopped():
            observe(draw)

    return watch


def accepted_tokens(steps: Columns, tokens: int) -> tuple[bool, ...]:
    """Whether each token of an output was a draft that was kept.

    Args:
        steps: `STEP_COLUMNS`, each ``[steps]``.
        tokens: Length of the output; its first token comes before every step.

    Example:
        >>> accepted_tokens({"accepted_length": np.array([2, 0]),
        ...                  "committed_tokens": np.array([3, 1])}, 5)
        (False, True, True, False, False)
    """
    kept = [False]
    for accepted, committed in zip(
        steps["accepted_length"].tolist(), steps["committed_tokens"].tolist(), strict=True
    ):
        kept += [index < accepted for index in range(committed)]
    return tuple(kept[:tokens])
