"""One case on any engine: decode it both ways, judge the outputs, and keep what was measured."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from draftproof.config import RunConfig
from draftproof.data.encoding import prompt_ids, prompt_messages
from draftproof.data.prompt import Prompt, turn_id
from draftproof.decoding import within_context
from draftproof.engines.ahead import Ahead
from draftproof.engines.certifying import (
    certified,
    engine_rounding,
    judged_by_plain,
    plain_advice,
    plain_decides,
    rounding_advice,
)
from draftproof.engines.draft_limits import draft_limits, limited, told_counts_problems
from draftproof.engines.law_test import evidence_of
from draftproof.engines.names import BUILT_IN, speculates
from draftproof.engines.protocol import (
    BatchEngine,
    Capability,
    Engine,
    Generation,
    Request,
    check_generation,
)
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.room import batch_size
from draftproof.errors import DraftproofError, EngineError, UsageError
from draftproof.laws import RULES
from draftproof.lossless.certificate import certify, explain
from draftproof.models.loading import ModelPair
from draftproof.sampling import TokenLaw
from draftproof.scoring import score_pair
from draftproof.statistics.identities import check_identities
from draftproof.stopping import Stopping
from draftproof.stopwatch import full_collections_wait
from draftproof.token_texts import TokenTexts
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    Columns,
    DecodedOutput,
    Fork,
    Verdict,
    empty_columns,
)

Upcoming = Callable[[str], Iterable[Prompt]]
"""From the id of a prompt to the prompts whose turn comes after it, in that order."""

WARM_UP_TOKENS = 8
"""Tokens that are decoded both ways before anything is timed."""

MOST_WATCHING = 0.1
"""Share of a call that an engine of somebody else may say to have spent on watching. What it says
beyond that counts as decoding: a clock that stops at will would make any speedup."""

CERTIFIED_ONE_IN = 8
"""Share of the cases, one in so many, whose plain output is certified too."""

CERTIFIED_TOKENS = 16
"""Length of the greedy output that certifies plain decoding where outputs are drawn."""


class Bench:
    """Measures cases on an engine, and judges them by the target itself.

    Both outputs of a case are decoded one right after the other, and which one comes first depends
    on the case's id alone: what the first of two requests pays for (a page of memory, a cache of
    prefixes) is paid for by both sides, however cases are spread over processes.

    Plain decoding is what everything is compared with, so that a model which is wrong in both ways
    of decoding would make two equal outputs. On a sample of the cases it is therefore judged too:
    by one forward pass over prompt and output without a cache, first token included. The sample
    holds the first case of every bench, one in `CERTIFIED_ONE_IN` of the others by their ids, every
    case after one that failed, and every case where the outputs part: speculation is not blamed for
    what plain decoding got wrong.

    Args:
        engine: What is under test.
        pair: The judge's models: encode prompts, decode plainly where the engine cannot, and score
            outputs.
        config: The run's settings.
        upcoming: From the id of a prompt to the prompts whose turn comes after it. They are decoded
            together with it where the settings ask for batches; without it, every prompt is decoded
            alone.
        report: Told of batches that failed.

    Raises:
        UsageError: The settings ask for batches, and the engine decodes one request at a time.
    """

    def __init__(
        self,
        engine: Engine,
        pair: ModelPair,
        config: RunConfig,
        upcoming: Upcoming | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.engine = engine
        self.pair = pair
        self.config = config
        self._texts = TokenTexts(pair.decode)
        self._limits = draft_limits(engine.describe())
        self._speculates = speculates(engine.describe())
        self._beyond_judge = bool(judged_by_plain(engine))
        self._plain_engine = (
            engine
            if Capability.PLAIN in engine.capabilities
            else ReferenceEngine.without_drafts(pair, config)
        )
        self._certifies_next = True
        self.batch = 1 if upcoming is None else batch_size(config, pair)
        self._requests: dict[str, Request] = {}
        self._ahead: dict[str, Ahead] = {}
        if self.batch > 1 and upcoming is not None:
            self._decode_ahead(upcoming, report)

    def _decode_ahead(self, upcoming: Upcoming, report: Callable[[str], None]) -> None:
        for side in (self._plain_engine, self.engine):
            if Capability.BATCHES not in side.capabilities:
                asked = "--spec-concurrency" if self.config.concurrency > 1 else "--spec-batch"
                raise UsageError(
                    f"{asked}: {side.name} decodes one request at a time with these settings; "
                    f"leave {asked} out"
                )

        def after(request: Request) -> Iterator[Request]:
            for prompt in self._in_order(upcoming(request.request_id)):
                with suppress(DraftproofError):  # which is raised when its turn comes
                    yield self._asked(prompt)

        self._ahead = {
            "plain": Ahead(self._plain_engine, self.batch, after, plainly=True, report=report),
            "speculative": Ahead(self.engine, self.batch, after, report=report),
        }

    def _in_order(self, prompts: Iterable[Prompt]) -> Iterable[Prompt]:
        """Prompts in the order in which they are decoded ahead of their turn.

        Under load they are shuffled, by the run's seed: a prompt's neighbours are then of every
        domain and length, as a server's are.
        """
        if self.config.concurrency == 1:
            return prompts
        purpose = f"order {self.config.seed}"
        return sorted(prompts, key=lambda prompt: _share_of(prompt.prompt_id, purpose))

    def _asked(self, prompt: Prompt) -> Request:
        """What an engine is asked for a prompt, made once for both ways of decoding."""
        if prompt.prompt_id not in self._requests:
            self._requests[prompt.prompt_id] = self.request(prompt)
        return self._requests[prompt.prompt_id]

    def warm_up(self, prompt: Prompt) -> None:
        """Decode a few tokens both ways, so that what is done only once is in no case's seconds.

        Raises:
            DraftproofError: As `run`.
        """
        request = self.request(prompt)
        limit = min(WARM_UP_TOKENS, request.stopping.max_new_tokens)
        short = replace(request, stopping=replace(request.stopping, max_new_tokens=limit))
        self._plain_engine.plain(short)
        self.engine.speculate(short)
        for engine, plainly in ((self._plain_engine, True), (self.engine, False)):
            if self._ahead and isinstance(engine, BatchEngine):
                rows = [replace(short, request_id=f"{n}/warm-up") for n in range(self.batch)]
                for _ in engine.generate(rows, most_rows=self.batch, plainly=plainly):
                    pass

    def request(self, prompt: Prompt) -> Request:
        """What an engine is asked for a prompt under the run's settings.

        Raises:
            UsageError: The prompt is empty.
            ModelError: It leaves no room in the target's context.
        """
        answered = self._answered(prompt)
        prompt_token_ids = prompt_ids(self.pair, prompt, answered)
        stopping = Stopping(
            max_new_tokens=self.config.max_new_tokens,
            stop_token_ids=self.pair.stop_token_ids,
            stop_strings=self.config.stop_strings,
            decode=self.pair.decode,
        )
        return Request(
            request_id=prompt.prompt_id,
            prompt_token_ids=prompt_token_ids,
            sampling=self.config.sampling,
            stopping=within_context(stopping, prompt_token_ids, self.pair.target),
            seed=self.config.seed,
            messages=prompt_messages(prompt, answered),
        )

    def run(self, prompt: Prompt) -> CaseRecord:
        """Everything measured on one prompt.

        Raises:
            DraftproofError: The prompt does not fit, the engine failed or returned what no engine
                may return, or a state check failed.
        """
        try:
            return self.measured(prompt, self._asked(prompt))
        finally:
            self._requests.pop(prompt.prompt_id, None)

    def measured(self, prompt: Prompt, request: Request) -> CaseRecord:
        """Everything measured on a request for a prompt; see `run`."""
        (plain, plain_output), (speculative, speculative_output) = self._both(request)
        plain_verdict = self._certified_plain(request, plain) if self._in_sample(request) else None
        verdict, forks, message = self._judge(request, plain, speculative)
        if verdict is Verdict.ALGORITHMIC and plain_verdict is None and not self._beyond_judge:
            plain_verdict = self._certified_plain(request, plain)
        rule = str(self.engine.describe().get("rule", ""))
        evidence, control = self._evidence(request, plain, speculative, rule)
        plain_score, speculative_score = self._scores(prompt, plain, speculative)
        counts = limited(speculative.counts, self._limits)
        record = CaseRecord(
            case_id=prompt.prompt_id,
            domain=prompt.domain,
            prompt_tokens=len(request.prompt_token_ids),
            verdict=verdict,
            message=message,
            plain=plain_output,
            speculative=speculative_output,
            plain_verdict=plain_verdict,
            forks=forks,
            evidence=evidence,
            control=control,
            steps=_columns(speculative.steps, STEP_COLUMNS),
            nodes=_columns(speculative.nodes, NODE_COLUMNS),
            draws=speculative.draws,
            counts=counts if speculative.steps is None else None,
            plain_score=plain_score,
            speculative_score=speculative_score,
        )
        record = replace(
            record,
            token_texts=self._texts.of(
                plain.token_ids, speculative.token_ids, record.nodes["token_id"].tolist()
            ),
        )
        facts = RULES.get(rule)
        broken = check_identities(
            record,
            top_down=facts is not None and facts.top_down,
            in_order=facts is not None and facts.in_order,
            tells_steps=speculative.steps is not None,
            bonus=self._limits.bonus,
        )
        told = told_counts_problems(speculative, self._limits)
        return replace(record, contradictions=tuple(dict.fromkeys([*broken, *told])))

    def _answered(self, prompt: Prompt) -> list[tuple[str, str]]:
        """A conversation's earlier turns, each with the plain answer that its own case has.

        They are decoded again, with the same seed and id, so that no case depends on which others
        ran before it, or where. (Above temperature 0, an engine without seeds gives others.)
        """
        answered: list[tuple[str, str]] = []
        for turn, text in enumerate(prompt.earlier, start=1):
            asked = replace(
                prompt, prompt_id=turn_id(prompt.prompt_id, turn), text=text, earlier=()
            )
            request = replace(
                self.request(asked),
                prompt_token_ids=self.pair.encode(text, answered),
                messages=prompt_messages(asked, answered),
            )
            answer = self._plain_engine.plain(request)
            self._check(self._plain_engine, answer, request, f"plain output of turn {turn}")
            answered.append((text, self._said(answer.token_ids)))
        return answered

    def _scores(
        self, prompt: Prompt, plain: Generation, speculative: Generation
    ) -> tuple[float | None, float | None]:
        plain_score, speculative_score = score_pair(
            self._said(plain.token_ids),
            self._said(speculative.token_ids),
            prompt=prompt.text,
            answer=prompt.answer,
            scoring=prompt.scoring,
            execute_code=self.config.execute_code,
        )
        return plain_score, speculative_score if self._speculates else None

    def _said(self, token_ids: Sequence[int]) -> str:
        """The text of an output without the tokens that end it."""
        return self.pair.decode([t for t in token_ids if t not in self.pair.stop_token_ids])

    def _both(
        self, request: Request
    ) -> tuple[tuple[Generation, DecodedOutput], tuple[Generation, DecodedOutput]]:
        """The plain and the speculative answer, each with its time as seen from outside."""
        if _share_of(request.request_id, "plain first") < 0.5:
            plain = self._timed(self._plain_engine, request, "plain")
            return plain, self._timed(self.engine, request, "speculative")
        speculative = self._timed(self.engine, request, "speculative")
        return self._timed(self._plain_engine, request, "plain"), speculative

    def _timed(
        self, engine: Engine, request: Request, which: str
    ) -> tuple[Generation, DecodedOutput]:
        decode: Callable[[Request], Generation] = (
            engine.plain if which == "plain" else engine.speculate
        )
        ahead = self._ahead.get(which)
        with full_collections_wait():
            began = time.perf_counter()
            generation = decode(request) if ahead is None else ahead.answer(request)
            call_seconds = time.perf_counter() - began
        untold = None
        if ahead is None:
            untold = (
                call_seconds - generation.seconds - self._watching(engine, generation, call_seconds)
            )
        self._check(engine, generation, request, f"{which} output")
        return generation, DecodedOutput(
            token_ids=generation.token_ids,
            stop_reason=generation.stop_reason,
            seconds=generation.seconds if which == "plain" or self._speculates else math.nan,
            untold_seconds=untold if which == "plain" or self._speculates else None,
            engine=engine.name,
            arrivals=generation.arrivals,
            server_seconds=generation.server_seconds,
        )

    def _watching(self, engine: Engine, generation: Generation, call_seconds: float) -> float:
        """Seconds of a call that were spent on watching, as far as the engine is believed."""
        if engine is not self.engine or self.config.engine in BUILT_IN:
            return generation.watching_seconds
        return min(generation.watching_seconds, MOST_WATCHING * call_seconds)

    def _in_sample(self, request: Request) -> bool:
        if self._beyond_judge:
            return False
        return self._certifies_next or _share_of(request.request_id, "certified") < 1 / (
            CERTIFIED_ONE_IN
        )

    def _certified_plain(self, request: Request, plain: Generation) -> Verdict:
        """What teacher-forcing plain decoding showed.

        Above temperature 0, where an output may be any, plain decoding is asked for a short greedy
        one: prefill, first token and cache are the same. (That its tokens are then drawn from the
        right law is for the anytime-valid test, whose control they are.)

        Raises:
            EngineError: The target's own weights and kernels decoded something else than the target
                says. Of other ones, the verdict alone tells.
        """
        self._certifies_next = True
        if not request.sampling.greedy:
            stopping = request.stopping
            limit = min(CERTIFIED_TOKENS, stopping.max_new_tokens)
            request = replace(
                request,
                sampling=replace(request.sampling, temperature=0.0),
                stopping=replace(stopping, max_new_tokens=limit),
            )
            plain = self._plain_engine.plain(request)
            self._check(self._plain_engine, plain, request, "greedy plain output")
        prompt, output = request.prompt_token_ids, plain.token_ids
        certificate = certify(
            prompt,
            output,
            self.pair.target,
            TokenLaw(request.sampling, len(prompt), request.stopping.stop_token_ids),
            widths=[1] * len(output),
            tie_tolerance=self.config.tie_tolerance,
        )
        if certificate.verdict is Verdict.ALGORITHMIC and not plain_decides(self.engine):
            why = explain(certificate, output, self.pair.decode, of_plain=True)
            raise EngineError(
                f"plain decoding itself is wrong, and equal outputs would prove nothing: {why}"
            )
        self._certifies_next = False
        return certificate.verdict

    def _check(self, engine: Engine, generation: Generation, request: Request, what: str) -> None:
        try:
            check_generation(generation, request, self.pair.target.vocabulary_size)
        except EngineError as error:
            raise EngineError(f"{engine.name}, {what}: {error}") from error

    def _evidence(
        self, request: Request, plain: Generation, speculative: Generation, rule: str
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """Of both outputs above temperature 0: the plain one is the control."""
        if request.sampling.greedy or not self.config.law_alpha or self._beyond_judge:
            return None, None
        target, draft = self.pair.target, self.pair.draft
        judged = partial(evidence_of, engine_rounding=engine_rounding(self.engine, self.config))
        observed = judged(speculative, request, target, draft, rule=rule)
        return observed.to_json(), judged(plain, request, target, draft).to_json()

    @property
    def rounding_advice(self) -> str:
        """What to do about a rejection where the engine's rounding is not told; else empty."""
        return rounding_advice(self.engine, self.config)

    def _judge(
        self, request: Request, plain: Generation, speculative: Generation
    ) -> tuple[Verdict, tuple[Fork, ...], str]:
        if not request.sampling.greedy:
            return Verdict.SAMPLED, (), ""
        if not self._speculates:
            return Verdict.UNJUDGED, (), ""
        if plain.token_ids == speculative.token_ids:
            return Verdict.IDENTICAL, (), ""
        certificate = certified(
            request,
            speculative,
            self.pair,
            self.config,
            self.engine,
            plain.token_ids,
        )
        margin = max((fork.margin for fork in certificate.forks), default=0.0)
        asked = plain_advice(self.engine, request)
        advice = asked or rounding_advice(self.engine, self.config, margin)
        message = explain(certificate, speculative.token_ids, self.pair.decode, advice=advice)
        return certificate.verdict, certificate.forks, message


def _columns(columns: Columns | None, schema: dict[str, str]) -> Columns:
    return empty_columns(schema) if columns is None else columns


def _share_of(request_id: str, purpose: str) -> float:
    """A number in [0, 1) that a request's id decides, independent for each purpose."""
    digest = hashlib.sha256(f"{purpose}\0{request_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
