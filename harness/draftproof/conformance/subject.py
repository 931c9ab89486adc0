"""What is examined: an engine, its judge's models, and prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Tally
from draftproof.conformance.pool import EnginePool
from draftproof.data.encoding import prompt_ids
from draftproof.data.prompt import Prompt
from draftproof.drafting import Drafter
from draftproof.engines.certifying import certified, plain_advice, plain_decides, rounding_advice
from draftproof.engines.protocol import (
    Capability,
    Engine,
    Generation,
    Request,
    check_generation,
)
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.registry import make_engine
from draftproof.errors import EngineError
from draftproof.lossless.certificate import explain
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.loading import ModelPair
from draftproof.stopping import Stopping
from draftproof.trace import Verdict

GREEDY = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An engine under examination. Close it at the end.

    Attributes:
        pair: The judge's models, whose target decides what is right.
        config: The run's settings; `engine` names what is examined.
        prompts: What it is asked, at least one.
        rule: An acceptance rule under test, for the reference engine.
        drafter: A drafter under test, likewise.
        make: Makes the engine from models and settings, in place of the one that `config` names.
        to_the_end: Whether a check goes on after the first problem that it finds.
        early: What the engine answered before any check asked it anything.
    """

    pair: ModelPair
    config: RunConfig
    prompts: Sequence[Prompt]
    rule: AcceptanceRule | None = None
    drafter: Drafter | None = None
    make: Callable[[ModelPair, RunConfig], Engine] | None = None
    to_the_end: bool = True
    early: list[tuple[Request, Generation]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    _pool: EnginePool = field(init=False, repr=False, compare=False)
    _plain: dict[Request, Generation] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _own_draft: list[ModelPair] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pool", EnginePool(self._make_engine))

    @property
    def sampled(self) -> Sampling:
        """The temperature of the sampled checks: the settings', or 1 where they have none."""
        return Sampling(temperature=self.config.sampling.temperature or 1.0)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the engine can do and tell."""
        with self.engine() as engine:
            return engine.capabilities

    @contextmanager
    def engine(
        self,
        *,
        pair: ModelPair | None = None,
        sampling: Sampling = GREEDY,
        **settings: Any,
    ) -> Iterator[Engine]:
        """An engine that all checks share that need the same: made once, closed with the subject.

        Args:
            pair: In place of the subject's.
            sampling: What it will be asked for. An engine that is made of the run's settings is
                another one at temperature 0 and above it; filters and penalties come with requests.
            settings: Fields of `RunConfig` that differ from the subject's.
        """
        pair = pair or self.pair
        above = replace(
            self.config,
            sampling=self.sampled,
            check_state=0.0,
            rule="auto" if self.config.rule == "greedy" else self.config.rule,
        )
        greedy = replace(self.config, sampling=GREEDY, check_state=0.0)
        # What is made once must serve every temperature; a rule that is valid above 0 is at 0.
        with self._pool.engine(self.pair, above) as base:
            is_remade = Capability.RUN_SETTINGS in base.capabilities
            config = greedy if is_remade and sampling.greedy else above
            if settings:
                config = replace(config, **settings)
            if pair is self.pair and config == above:
                yield base
                return
        with self._pool.engine(pair, config) as engine:
            yield engine

    def close(self) -> None:
        """Close every engine that was made."""
        self._pool.close()

    def _make_engine(self, pair: ModelPair, config: RunConfig) -> Engine:
        if self.make is not None:
            return self.make(pair, config)
        if self.drafter is not None:
            return ReferenceEngine(pair, config, rule=self.rule, drafter=self.drafter)
        return make_engine(pair, config, rule=self.rule)

    def request(
        self,
        prompt: Prompt | Sequence[int],
        *,
        sampling: Sampling = GREEDY,
        max_new_tokens: int | None = None,
        stop_token_ids: frozenset[int] | None = None,
        stop_strings: tuple[str, ...] = (),
        seed: int | None = None,
        extras: str | None = None,
    ) -> Request:
        """A request for a prompt or for token ids; what is not given is as in the settings."""
        if isinstance(prompt, Prompt):
            request_id, token_ids = prompt.prompt_id, prompt_ids(self.pair, prompt)
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
            extras=extras,
        )

    def plain(self, request: Request) -> Generation | None:
        """What the engine's own plain decoding answers to a greedy request; asked once.

        None where it cannot decode plainly.
        """
        if request not in self._plain:
            with self.engine() as engine:
                if Capability.PLAIN not in engine.capabilities:
                    return None
                self._plain[request] = engine.plain(request)
        return self._plain[request]

    def judged(
        self, engine: Engine, request: Request, plain: Sequence[int] | None = None
    ) -> Judged:
        """An engine's greedy answer, its verdict, and why.

        An answer that no engine may give is algorithmic, as is one that parts from the engine's own
        plain decoding where rounding is no reason: one of the two drops a setting that the other
        obeys, and it need not be one that the judge knows of. An answer that leaves the judge's
        target as the plain decoding of an engine with kernels of its own does is judged from there
        on.

        Args:
            engine: What is asked.
            request: What it is asked.
            plain: What the engine's plain decoding gives, where it is known; else it is asked.

        Raises:
            DraftproofError: The engine refused the request.
        """
        generation = engine.speculate(request)
        try:
            check_generation(generation, request, self.pair.target.vocabulary_size)
        except EngineError as error:
            return Judged(generation, Verdict.ALGORITHMIC, str(error))
        found = certified(request, generation, self.pair, self.config, engine)
        alone = found.verdict
        if plain is None:
            answer = self.plain(request)
            plain = None if answer is None else answer.token_ids
        is_compared = plain is not None
        if plain is not None and (alone is Verdict.ALGORITHMIC or plain != generation.token_ids):
            plain = tuple(plain)
            found = certified(request, generation, self.pair, self.config, engine, plain)
            shorter = min(len(plain), len(generation.token_ids))
            same = plain[:shorter] == generation.token_ids[:shorter]
            if same and len(plain) != len(generation.token_ids):
                return Judged(
                    generation,
                    Verdict.ALGORITHMIC,
                    f"the engine's plain decoding ends after {len(plain)} tokens, and its "
                    f"speculation, with the same tokens so far, after {len(generation.token_ids)}",
                )
        margin = max((fork.margin for fork in found.forks), default=0.0)
        advice = plain_advice(engine, request) or rounding_advice(engine, self.config, margin)
        message = explain(found, generation.token_ids, self.pair.decode, advice=advice)
        if found.verdict is Verdict.ALGORITHMIC and alone is not Verdict.ALGORITHMIC:
            message = (
                "speculation and the engine's own plain decoding part, and rounding is no reason: "
                "one of them drops a setting that the other obeys, or has a fault that the other "
                f"has not (below, 'target' is plain decoding's token)\n{message}"
            )
        is_as_plain = (
            plain_decides(engine)
            and alone is Verdict.ALGORITHMIC
            and found.verdict is not Verdict.ALGORITHMIC
        )
        return Judged(
            generation, found.verdict, message, as_plain=is_as_plain, is_compared=is_compared
        )

    def tally(self, place: str) -> Tally:
        """Adds up a check's verdicts; a place that it examines is named in the plural."""
        return Tally(place, to_the_end=self.to_the_end)

    def self_draft(self) -> ModelPair:
        """The pair with the target as its own draft model."""
        if not self._own_draft:
            again = HuggingFaceLM(self.pair.target.model, self.pair.target.vocabulary_size)
            self._own_draft.append(replace(self.pair, draft=again))
        return self._own_draft[0]


@dataclass(frozen=True, slots=True)
class Judged:
    """An engine's greedy answer and what was found of it.

    Attributes:
        generation: The answer.
        verdict: Of its tokens.
        message: Why, where a token is not the judge's target's own.
        as_plain: Whether the engine's own plain decoding had to be taken for the target: it leaves
            the judge's, too.
        is_compared: Whether it was compared with the engine's own plain decoding.
    """

    generation: Generation
    verdict: Verdict
    message: str
    as_plain: bool = False
    is_compared: bool = False
