"""What is examined: an engine that can be made anew, its judge's models, and prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig, Sampling
from draftproof.data.prompt import Prompt
from draftproof.decoding import plain_decode
from draftproof.drafting import Drafter
from draftproof.engines.measuring import certified, plain_decides
from draftproof.engines.protocol import (
    Capability,
    Engine,
    Generation,
    Request,
    check_generation,
)
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.registry import make_engine
from draftproof.errors import DraftproofError, EngineError
from draftproof.lossless.certificate import explain
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.loading import ModelPair
from draftproof.randomness import SeededRandomness
from draftproof.stopping import Stopping
from draftproof.trace import Verdict

GREEDY = Sampling()


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_AVAILABLE = "not available"
    """The engine cannot do or tell what the check needs; nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        status: How it ended.
        n: Outputs that were judged.
        numerical: Of these, the ones that part from the target's own by rounding.
        lines: What went wrong, or why it is not available; else what is worth knowing.
        facts: Figures for programs, as plain JSON values.
    """

    status: Status
    n: int = 0
    numerical: int = 0
    lines: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class FirstProblemError(DraftproofError):
    """A check ended at the first problem that it found, as it was asked to."""


def not_available(capability: Capability) -> Finding:
    """The finding on an engine that lacks a capability."""
    return Finding(status=Status.NOT_AVAILABLE, lines=(f"the engine does not have: {capability}",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An engine under examination.

    Attributes:
        pair: The judge's models, whose target decides what is right.
        config: The run's settings; `engine` names what is examined.
        prompts: What it is asked, at least one.
        rule: An acceptance rule under test, for the reference engine.
        drafter: A drafter under test, likewise.
        make: Makes the engine from models and settings, in place of the one that `config` names.
        to_the_end: Whether a check goes on after the first problem that it finds.
    """

    pair: ModelPair
    config: RunConfig
    prompts: Sequence[Prompt]
    rule: AcceptanceRule | None = None
    drafter: Drafter | None = None
    make: Callable[[ModelPair, RunConfig], Engine] | None = None
    to_the_end: bool = True

    @contextmanager
    def engine(
        self,
        *,
        pair: ModelPair | None = None,
        sampling: Sampling = GREEDY,
        **settings: Any,
    ) -> Iterator[Engine]:
        """A new engine, closed afterwards.

        Args:
            pair: In place of the subject's.
            sampling: What it will be asked for.
            settings: Fields of `RunConfig` that differ from the subject's.
        """
        engine: Engine
        config = replace(self.config, sampling=sampling, check_state=0.0)
        if settings:
            config = replace(config, **settings)
        if self.make is not None:
            engine = self.make(pair or self.pair, config)
        elif self.drafter is not None:
            engine = ReferenceEngine(
                pair or self.pair, config, rule=self.rule, drafter=self.drafter
            )
        else:
            engine = make_engine(pair or self.pair, config, rule=self.rule)
        try:
            yield engine
        finally:
            engine.close()

    def request(
        self,
        prompt: Prompt | Sequence[int],
        *,
        sampling: Sampling = GREEDY,
        max_new_tokens: int | None = None,
        stop_token_ids: frozenset[int] | None = None,
        stop_strings: tuple[str, ...] = (),
        seed: int | None = None,
    ) -> Request:
        """A request for a prompt or for token ids; what is not given is as in the settings."""
        if isinstance(prompt, Prompt):
            request_id, token_ids = prompt.prompt_id, self.pair.encode(prompt.text)
        else:
            token_ids = tuple(prompt)
            request_id = f"conformance/{hash(token_ids)}"
        return Request(
            request_id=request_id,
            prompt_token_ids=token_ids,
            sampling=sampling,
            stopping=Stopping(
                max_new_tokens=max_new_tokens or self.config.max_new_tokens,
                stop_token_ids=self.pair.stop_token_ids
                if stop_token_ids is None
                else stop_token_ids,
                stop_strings=stop_strings,
                decode=self.pair.decode,
            ),
            seed=self.config.seed if seed is None else seed,
        )

    def own_output(self, request: Request) -> tuple[int, ...]:
        """What the target alone answers to a greedy request."""
        return plain_decode(
            request.prompt_token_ids,
            self.pair.target,
            sampling=request.sampling,
            stopping=request.stopping,
            randomness=SeededRandomness(request.seed, request.request_id),
        ).token_ids

    def judged(self, engine: Engine, request: Request) -> Judged:
        """An engine's greedy answer, its verdict, and why.

        An answer that no engine may give is algorithmic. One that leaves the judge's target as the
        plain decoding of an engine with kernels of its own does is judged from there on.

        Raises:
            DraftproofError: The engine refused the request.
        """
        generation = engine.speculate(request)
        try:
            check_generation(generation, request, self.pair.target.vocabulary_size)
        except EngineError as error:
            return Judged(generation, Verdict.ALGORITHMIC, str(error))
        certificate = certified(request, generation, self.pair, self.config)
        as_plain = False
        if certificate.verdict is Verdict.ALGORITHMIC and Capability.PLAIN in engine.capabilities:
            # What the engine comes to without drafts is of its own kernels, not of speculation.
            plain = engine.plain(request).token_ids
            decides = plain_decides(engine)
            certificate = certified(
                request, generation, self.pair, self.config, plain, plain_decides=decides
            )
            as_plain = decides and certificate.verdict is not Verdict.ALGORITHMIC
        message = explain(certificate, generation.token_ids, self.pair.decode)
        return Judged(generation, certificate.verdict, message, as_plain=as_plain)

    def tally(self) -> Tally:
        """Adds up a check's verdicts."""
        return Tally(to_the_end=self.to_the_end)

    def self_draft(self) -> ModelPair:
        """The pair with the target as its own draft model."""
        again = HuggingFaceLM(self.pair.target.model, self.pair.target.vocabulary_size)
        return replace(self.pair, draft=again)


@dataclass(frozen=True, slots=True)
class Judged:
    """An engine's greedy answer and what was found of it.

    Attributes:
        generation: The answer.
        verdict: Of its tokens.
        message: Why, where a token is not the judge's target's own.
        as_plain: Whether the engine's own plain decoding had to be taken for the target: it leaves
            the judge's, too.
    """

    generation: Generation
    verdict: Verdict
    message: str
    as_plain: bool = False


class Tally:
    """Adds up the verdicts of a check's outputs.

    Args:
        to_the_end: Whether to go on after a problem.

    Attributes:
        n: Outputs judged.
        numerical: Of these, those that part by rounding.
        as_plain: Of these, those that leave the judge's target as the engine's plain decoding does.
        problems: What went wrong.

    Raises:
        FirstProblemError: By `add` and `require`, at the first problem, unless to go on.
    """

    def __init__(self, *, to_the_end: bool = True) -> None:
        self._to_the_end = to_the_end
        self.n = 0
        self.numerical = 0
        self.as_plain = 0
        self.problems: list[str] = []

    def add(self, what: str, judged: Judged) -> None:
        """Count an output, named by what it is the answer to."""
        self.n += 1
        self.numerical += judged.verdict is Verdict.NUMERICAL
        self.as_plain += judged.as_plain
        if judged.verdict is Verdict.ALGORITHMIC:
            self._note(f"{what}: {judged.message}")

    def require(self, condition: bool, problem: str) -> None:
        """Count a comparison, and a problem where it does not hold."""
        self.n += 1
        if not condition:
            self._note(problem)

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        if not self._to_the_end:
            raise FirstProblemError(problem)

    def finding(self, *lines: str, **facts: Any) -> Finding:
        """Failed if there was any problem, and not available where no output could be judged."""
        status = Status.FAILED if self.problems else Status.PASSED
        if self.as_plain:
            lines += (
                f"{self.as_plain} of {self.n} outputs leave the judge's target where the engine's "
                "plain decoding does: the judge's numerics or settings are not the engine's",
            )
            if self.as_plain == self.n:
                status = Status.NOT_AVAILABLE
        return Finding(
            status=status,
            n=self.n,
            numerical=self.numerical,
            lines=(*self.problems, *lines),
            facts=facts,
        )
