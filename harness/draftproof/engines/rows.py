"""Requests decoded many at a time, as rows of one batch, on a pair of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

from draftproof.batch.decoding import BatchStep, Job, plain_decode_all, speculate_all
from draftproof.batch.draft_side import BatchDrafter
from draftproof.batch.drafters import make_batch_drafter
from draftproof.batch.draws import AheadRandomness, BatchDraws, SeededDraws
from draftproof.batch.hugging_face import HuggingFaceRows
from draftproof.batch.models import BatchLM, OneRow, WidenedRows
from draftproof.batch.recording import BatchRecorder, step_of
from draftproof.batch.rules import RULES
from draftproof.batch.timekeeping import Timekeeper
from draftproof.decoding import Output, within_context
from draftproof.engines.parts import counts_of
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.sites import accepted_tokens
from draftproof.lossless.state import StepChecker
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.probe import tree_problem
from draftproof.models.protocol import CausalLM
from draftproof.models.widened import WidenedLM
from draftproof.randomness import SeededRandomness
from draftproof.shapes import TreeShape
from draftproof.stopwatch import Clock


class RowDecoding:
    """Decodes requests as rows of a batch, and tells every step and node of each.

    Args:
        target: Verifies.
        draft: The draft model; None for drafters without one.
        shape: Of the drafts.
        rule: Name of the acceptance rule, one of `draftproof.batch.rules.RULES`.
        checker: Checks the state of a share of the rows' steps, or None.
        clock: Measures.
    """

    def __init__(
        self,
        target: BatchLM,
        draft: BatchLM | None,
        shape: TreeShape,
        rule: str,
        *,
        checker: StepChecker | None,
        clock: Clock,
    ) -> None:
        self._target = target
        self._drafter: BatchDrafter = make_batch_drafter(shape, draft or target)
        self._rule = rule
        self._checker = checker
        self._clock = clock

    def speculate(
        self, requests: Iterable[Request], most_rows: int
    ) -> Iterator[tuple[int, Generation]]:
        """Decode requests with a drafter's help.

        Args:
            requests: Taken as rows become free.
            most_rows: Decoded at once.

        Yields:
            The index of a request and its answer, as they end.

        Raises:
            DraftproofError: One of the requests that are being decoded cannot be; none of them is
                answered then.
        """
        recorder = BatchRecorder()
        jobs = _Jobs(requests, self._target)
        time = Timekeeper(self._clock)

        def observe(step: BatchStep) -> None:
            recorder(step)
            self._check(step)

        outputs = speculate_all(
            jobs,
            self._target,
            self._drafter,
            self._rule,
            make_draws=self._draws,
            most_rows=most_rows,
            observe=observe,
            time=time,
        )
        for index, output in self._emptied(outputs):
            ended = perf_counter()
            seconds = time.take(index)
            steps, nodes = recorder.take(index, seconds.steps)
            yield (
                index,
                Generation(
                    token_ids=output.token_ids,
                    stop_reason=str(output.stop_reason),
                    seconds=seconds.total,
                    watching_seconds=seconds.watching + perf_counter() - ended,
                    accepted=accepted_tokens(steps, len(output.token_ids)),
                    counts=counts_of(steps),
                    steps=steps,
                    nodes=nodes,
                    draws=jobs.take_draws(index),
                ),
            )

    def plain(
        self, requests: Iterable[Request], most_rows: int
    ) -> Iterator[tuple[int, Generation]]:
        """Decode requests with the target alone; see `speculate`."""
        jobs = _Jobs(requests, self._target)
        time = Timekeeper(self._clock)
        outputs = plain_decode_all(
            jobs, self._target, make_draws=self._draws, most_rows=most_rows, time=time
        )
        for index, output in self._emptied(outputs):
            jobs.take_draws(index)
            yield (
                index,
                Generation(
                    token_ids=output.token_ids,
                    stop_reason=str(output.stop_reason),
                    seconds=time.take(index).total,
                ),
            )

    def _emptied(self, outputs: Iterator[tuple[int, Output]]) -> Iterator[tuple[int, Output]]:
        """The outputs, after which the models hold no row, however it ends."""
        try:
            yield from outputs
        finally:
            self._target.keep(())
            self._drafter.keep(())

    def _draws(self, rows: Sequence[AheadRandomness]) -> BatchDraws:
        return SeededDraws(rows, self._target.device)

    def _check(self, step: BatchStep) -> None:
        if self._checker is None:
            return
        for number in range(len(step.rows)):
            if self._checker.is_next():
                self._checker.check(step_of(step, number))


class _Jobs:
    """Requests as jobs, made one after another, and what each has drawn.

    Args:
        requests: What to decode.
        target: Whose context outputs must fit.
    """

    def __init__(self, requests: Iterable[Request], target: BatchLM) -> None:
        self._requests = iter(requests)
        self._target = target
        self._randomness: dict[int, AheadRandomness] = {}
        self._made = 0

    def __iter__(self) -> Iterator[Job]:
        for request in self._requests:
            source = AheadRandomness(SeededRandomness(request.seed, request.request_id))
            prompt = request.prompt_token_ids
            self._randomness[self._made] = source
            self._made += 1
            yield Job(
                prompt=prompt,
                sampling=request.sampling,
                stopping=within_context(request.stopping, prompt, self._target),
                randomness=source,
            )

    def take_draws(self, index: int) -> dict[str, int]:
        """How many draws a request had, by purpose; it is forgotten here."""
        draws = self._randomness.pop(index).draws
        return {str(purpose): count for purpose, count in draws.items()}


def make_rows(model: CausalLM | None) -> BatchLM | None:
    """A model as rows of a batch; None where it cannot be held so.

    A model whose code does not take the cache or the masks of a batch is found by trying them.
    """
    if type(model) is WidenedLM:
        narrow = make_rows(model.narrow)
        if narrow is None:
            return None
        return WidenedRows(narrow, model.vocabulary_size, model.known, model.stand_in)
    if type(model) is not HuggingFaceLM:
        return None
    rows = HuggingFaceRows(model.model, model.vocabulary_size, model.calling)
    return rows if tree_problem(OneRow(rows, model.recompute)) is None else None


def make_row_decoding(
    target: CausalLM,
    draft: CausalLM | None,
    shape: TreeShape,
    rule: str,
    *,
    checker: StepChecker | None,
    clock: Clock,
) -> RowDecoding | None:
    """Decoding of many requests at once; None where the models or the rule cannot be batched."""
    if rule not in RULES:
        return None
    target_rows = make_rows(target)
    draft_rows = make_rows(draft)
    if target_rows is None or (draft is not None and draft_rows is None):
        return None
    return RowDecoding(target_rows, draft_rows, shape, rule, checker=checker, clock=clock)
