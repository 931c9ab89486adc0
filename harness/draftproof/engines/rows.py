"""Requests decoded many at a time, as rows of one batch, on a pair of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import NamedTuple

from draftproof.batch.decoding import BatchStep, Job, plain_decode_all, speculate_all
from draftproof.batch.draft_side import BatchDrafter
from draftproof.batch.drafters import make_batch_drafter
from draftproof.batch.draws import AheadRandomness, SeededDraws
from draftproof.batch.hugging_face import HuggingFaceRows
from draftproof.batch.models import BatchLM, MovedRows, OneRow, WidenedRows
from draftproof.batch.recording import BatchRecorder, step_of
from draftproof.batch.rules import RULES
from draftproof.batch.timekeeping import Timekeeper
from draftproof.decoding import within_context
from draftproof.engines.parts import counts_of
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.sites import accepted_tokens
from draftproof.lossless.state import StepChecker
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.moved import MovedLM
from draftproof.models.probe import tree_problem
from draftproof.models.protocol import CausalLM
from draftproof.models.widened import WidenedLM
from draftproof.randomness import SeededRandomness
from draftproof.shapes import TreeShape
from draftproof.stopwatch import Clock

MakeRows = Callable[[], BatchLM]
"""Makes rows of a batch, none of which is there yet."""


class _Sides(NamedTuple):
    """What a batch is decoded with; it holds the batch's caches."""

    target: BatchLM
    drafter: BatchDrafter


class RowDecoding:
    """Decodes requests as rows of a batch, and tells every step and node of each.

    Several batches may be decoded in turn: each has caches of its own.

    Args:
        make_target: Makes what verifies, with caches of its own.
        make_draft: Makes the draft model likewise; None for drafters without one.
        shape: Of the drafts.
        rule: Name of the acceptance rule, one of `draftproof.batch.rules.RULES`.
        checker: Checks the state of a share of the rows' steps, or None.
        clock: Measures.
    """

    def __init__(
        self,
        make_target: MakeRows,
        make_draft: MakeRows | None,
        shape: TreeShape,
        rule: str,
        *,
        checker: StepChecker | None,
        clock: Clock,
    ) -> None:
        self._make_target = make_target
        self._make_draft = make_draft
        self._shape = shape
        self._idle: list[_Sides] = []
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
        time = Timekeeper(self._clock)

        def observe(step: BatchStep) -> None:
            recorder(step)
            self._check(step)

        with self._sides() as (target, drafter):
            jobs = _Jobs(requests, target)
            for index, output in speculate_all(
                jobs,
                target,
                drafter,
                self._rule,
                make_draws=partial(SeededDraws, device=target.device),
                most_rows=most_rows,
                observe=observe,
                time=time,
            ):
                ended = perf_counter()
                seconds = time.take(index)
                steps, nodes = recorder.take(index, seconds.steps)
                generation = Generation(
                    token_ids=output.token_ids,
                    stop_reason=str(output.stop_reason),
                    seconds=seconds.total,
                    watching_seconds=seconds.watching + perf_counter() - ended,
                    accepted=accepted_tokens(steps, len(output.token_ids)),
                    counts=counts_of(steps),
                    steps=steps,
                    nodes=nodes,
                    draws=jobs.take_draws(index),
                )
                yield index, generation

    def plain(
        self, requests: Iterable[Request], most_rows: int
    ) -> Iterator[tuple[int, Generation]]:
        """Decode requests with the target alone; see `speculate`."""
        time = Timekeeper(self._clock)
        with self._sides() as (target, _):
            jobs = _Jobs(requests, target)
            for index, output in plain_decode_all(
                jobs,
                target,
                make_draws=partial(SeededDraws, device=target.device),
                most_rows=most_rows,
                time=time,
            ):
                ended = perf_counter()
                jobs.take_draws(index)
                seconds = time.take(index)
                generation = Generation(
                    token_ids=output.token_ids,
                    stop_reason=str(output.stop_reason),
                    seconds=seconds.total,
                    watching_seconds=perf_counter() - ended,
                )
                yield index, generation

    @contextmanager
    def _sides(self) -> Iterator[_Sides]:
        """A target and a drafter that hold no row, for one batch alone."""
        if self._idle:
            sides = self._idle.pop()
        else:
            target = self._make_target()
            draft = target if self._make_draft is None else self._make_draft()
            sides = _Sides(target, make_batch_drafter(self._shape, draft))
        try:
            yield sides
        except BaseException:  # the generator's end before its time included
            sides.target.keep(())
            sides.drafter.keep(())
            raise
        finally:
            self._idle.append(sides)

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


def rows_maker(model: CausalLM | None) -> MakeRows | None:
    """What makes rows of a batch of a model; None where it cannot be held so.

    A model whose code does not take the cache or the masks of a batch is found by trying them.
    """
    if type(model) is MovedLM:
        unmoved = rows_maker(model.unmoved)
        return unmoved and (lambda: MovedRows(unmoved(), model.device))
    if type(model) is WidenedLM:
        narrow = rows_maker(model.narrow)
        return narrow and (
            lambda: WidenedRows(narrow(), model.vocabulary_size, model.known, model.stand_in)
        )
    if type(model) is not HuggingFaceLM:
        return None

    def make() -> HuggingFaceRows:
        return HuggingFaceRows(model.model, model.vocabulary_size, model.calling)

    return make if tree_problem(OneRow(make(), model.recompute)) is None else None


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
    make_target = rows_maker(target)
    make_draft = rows_maker(draft)
    if make_target is None or (draft is not None and make_draft is None):
        return None
    return RowDecoding(make_target, make_draft, shape, rule, checker=checker, clock=clock)
