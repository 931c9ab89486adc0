"""Plain and speculative decoding of many sequences at once: draft, verify, accept, commit.

The same as `draftproof.decoding` does for one sequence, which is what the laws are proved of; tests
hold this to it, row for row. A step waits for the device once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float

from draftproof.acceptance.protocol import Acceptance
from draftproof.batch.draft_side import BatchDrafter, Rows
from draftproof.batch.drafts import BatchDraft
from draftproof.batch.draws import BatchDraws, CertainDraws
from draftproof.batch.laws import BatchLaw
from draftproof.batch.models import BatchLM
from draftproof.batch.past import Past
from draftproof.batch.readback import RowRead, read_back
from draftproof.batch.rules import LEAVES_FIRST, RULES
from draftproof.batch.timekeeping import Phase, Timekeeper
from draftproof.batch.walks import RowVerified, greedy_walk, leaves_first_walk, top_down_walk
from draftproof.categorical import NO_LAW, no_law
from draftproof.config import Sampling
from draftproof.decoding import Output
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw
from draftproof.stopping import Stopping, StopReason
from draftproof.stopwatch import Clock
from draftproof.transfer import sent
from draftproof.tree import ROOT, DraftTree

MakeDraws = Callable[[Sequence[Any]], BatchDraws]
"""From each row's randomness to the draws of the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One sequence to decode.

    Attributes:
        prompt: ``[≥ 1]`` token ids.
        sampling: Temperature and filters.
        stopping: Where the output ends, with a length limit that fits the target's context.
        randomness: The sequence's own draws.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    stopping: Stopping
    randomness: Randomness


@dataclass(slots=True)
class Row:
    """A sequence that is being decoded.

    Attributes:
        index: Its place among the jobs.
        job: What was asked.
        law: What its tokens are drawn from.
        sequence: Prompt and output so far; the last token is the root.
        stop_reason: Why it ended, or None.
    """

    index: int
    job: Job
    law: TokenLaw
    sequence: list[int] = field(default_factory=list)
    stop_reason: StopReason | None = None

    @property
    def output(self) -> list[int]:
        """The tokens after the prompt."""
        return self.sequence[len(self.job.prompt) :]

    def add(self, emitted: Sequence[int]) -> tuple[int, ...]:
        """Commit what the stopping rule lets of the emitted tokens, and return that."""
        committed, self.stop_reason = self.job.stopping.cut(self.output, emitted)
        self.sequence.extend(committed)
        return committed


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStep:
    """One step of every row of a batch.

    Attributes:
        rows: ``[B]`` the rows, their sequences as they are after the step.
        law: What tokens are drawn from.
        draft: What was proposed, on the device.
        target_logits: ``[B, n + 1, vocabulary]``: index 0 after the root, ``i + 1`` after node
            ``i``.
        target_probabilities: The same after temperature and filters.
        trees: ``[B]`` each row's own nodes.
        places: ``[B]`` the places of the draft in which these are.
        acceptances: ``[B]`` what was kept, by the row's own nodes.
        committed: ``[B]`` the tokens that it added to the output.
        past: What the law looked back at, where it does.
    """

    rows: tuple[Row, ...]
    law: BatchLaw
    draft: BatchDraft
    target_logits: Float[torch.Tensor, "B places vocabulary"]
    target_probabilities: Float[torch.Tensor, "B places vocabulary"]
    trees: tuple[DraftTree, ...]
    places: tuple[tuple[int, ...], ...]
    acceptances: tuple[Acceptance, ...]
    committed: tuple[tuple[int, ...], ...]
    past: Past | None


Observer = Callable[[BatchStep], None]


def ignore(step: BatchStep) -> None:
    """The observer that does nothing."""


def speculate_all(
    jobs: Iterable[Job],
    target: BatchLM,
    drafter: BatchDrafter,
    rule: str,
    *,
    make_draws: MakeDraws,
    most_rows: int,
    observe: Observer = ignore,
    time: Timekeeper | None = None,
) -> Iterator[tuple[int, Output]]:
    """What the target produces with a drafter's help, of many prompts at once.

    A row that ends makes room for the next prompt; what other rows do changes nothing for it.

    Args:
        jobs: What to decode; taken as room is made.
        target: Verifies.
        drafter: Proposes.
        rule: Name of a rule in `draftproof.batch.rules.RULES`.
        make_draws: Makes the draws of the batch, anew whenever its rows change.
        most_rows: Rows decoded at once.
        observe: Called after each step; takes no time.
        time: Told what time went into.

    Yields:
        The index of a job and its output, as they end.
    """
    time = time or Timekeeper(Clock())

    def start(numbers: Sequence[int], rows: Sequence[Row]) -> torch.Tensor:
        prompts = [row.job.prompt for row in rows]
        drafter.start(numbers, prompts)
        return target.start(numbers, prompts)

    def keep(numbers: Sequence[int]) -> None:
        target.keep(numbers)
        drafter.keep(numbers)

    batch = _Batch(jobs, most_rows, start, keep, make_draws, target, time)
    while batch.rows:
        if not batch.ended:
            step = take_step(batch, target, drafter, rule)
            observe(step)
            batch.passed(Phase.WATCH)
        yield from batch.turn_over()


def plain_decode_all(
    jobs: Iterable[Job],
    target: BatchLM,
    *,
    make_draws: MakeDraws,
    most_rows: int,
    time: Timekeeper | None = None,
) -> Iterator[tuple[int, Output]]:
    """What the target alone produces, of many prompts at once; see `speculate_all`."""
    batch = _Batch(
        jobs,
        most_rows,
        lambda numbers, rows: target.start(numbers, [row.job.prompt for row in rows]),
        target.keep,
        make_draws,
        target,
        time or Timekeeper(Clock()),
    )
    while batch.rows:
        if not batch.ended:
            size = len(batch.rows)
            last = sent([[row.sequence[-1]] for row in batch.rows], target.device)
            logits = target.score(last, (ROOT,))
            target.commit([[0]] * size)
            first_tokens(batch.rows, logits[:, 0], batch.law, batch.draws, target)
        yield from batch.turn_over()


class _Batch:
    """The rows that are being decoded, refilled from the jobs as they end.

    Args:
        jobs: What to decode.
        most_rows: Rows at once.
        start: Prefills rows of the batch, and returns the logits after their prompts.
        keep: Goes on with some rows.
        make_draws: Makes the draws of some rows.
        target: Its sizes and device are used.
        time: Told what time went into.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        most_rows: int,
        start: Callable[[Sequence[int], Sequence[Row]], torch.Tensor],
        keep: Callable[[Sequence[int]], None],
        make_draws: MakeDraws,
        target: BatchLM,
        time: Timekeeper,
    ) -> None:
        self.time = time
        self._jobs = enumerate(jobs)
        self._start = start
        self._keep = keep
        self._make_draws = make_draws
        self._target = target
        self.rows: list[Row] = []
        self._fill(range(most_rows))

    def passed(self, phase: Phase) -> None:
        """What has passed went into a phase, of every row."""
        self.time.passed(phase, [row.index for row in self.rows])

    @property
    def ended(self) -> bool:
        """Whether a row has ended and not been turned over yet."""
        return any(row.stop_reason is not None for row in self.rows)

    def turn_over(self) -> Iterator[tuple[int, Output]]:
        """Hand out the rows that ended, and put new ones in their place."""
        while self.ended:
            self.passed(Phase.OTHER)
            free = [n for n, row in enumerate(self.rows) if row.stop_reason is not None]
            for number in free:
                row = self.rows[number]
                if row.stop_reason is not None:
                    with self.time.away():
                        yield row.index, Output(tuple(row.output), row.stop_reason)
            filled = self._fill(free)
            left = sorted(set(range(len(self.rows))) - set(free[filled:]))
            if len(left) < len(self.rows):
                self.rows = [self.rows[number] for number in left]
                self._keep(left)
            if left:
                self._describe()

    def _fill(self, numbers: Sequence[int]) -> int:
        """Start as many rows as there are jobs for, at most these; their number."""
        with self.time.away():  # jobs may have to be waited for
            taken = list(zip(numbers, self._jobs, strict=False))
        started = []
        for number, (index, job) in taken:
            law = TokenLaw(job.sampling, len(job.prompt), job.stopping.stop_token_ids)
            row = Row(index=index, job=job, law=law, sequence=list(job.prompt))
            self.rows[number : number + 1] = [row]
            started.append((number, row))
        if started:
            numbers, rows = [n for n, _ in started], [row for _, row in started]
            logits = self._start(numbers, rows)
            first_tokens(rows, logits, *self._described(rows), self._target)
            self.time.passed(Phase.PREFILL, [row.index for row in rows])
        self._describe()
        return len(started)

    def _describe(self) -> None:
        self.law, self.draws = self._described(self.rows)

    def _described(self, rows: Sequence[Row]) -> tuple[BatchLaw, BatchDraws]:
        """What tokens of some rows are drawn from, and the draws."""
        law = BatchLaw([row.law for row in rows], self._target.device)
        draws = self._make_draws([row.job.randomness for row in rows])
        return law, CertainDraws(draws) if law.is_greedy else draws


def first_tokens(
    rows: Sequence[Row],
    logits: Float[torch.Tensor, "B vocabulary"],
    law: BatchLaw,
    draws: BatchDraws,
    target: BatchLM,
) -> None:
    """Draw a token of each row that the target decides alone, and add it to the output."""
    past = past_of(rows, law, target)
    nothing = torch.zeros(len(rows), 0, dtype=torch.int64, device=target.device)
    weights = law.distributions(logits[:, None], lambda: past.before(nothing, nothing))
    place = torch.zeros(len(rows), 1, dtype=torch.int64, device=target.device)
    chosen = draws.tokens(weights, place, place == 0, Purpose.PLAIN, 1)
    for number, (row, token) in enumerate(zip(rows, chosen[:, 0].tolist(), strict=True)):
        if token == NO_LAW:
            raise no_law()
        draws.used(number, Purpose.PLAIN, 1)
        row.add((token,))


def take_step(batch: _Batch, target: BatchLM, drafter: BatchDrafter, rule: str) -> BatchStep:
    """Draft, verify, accept, commit, for every row."""
    rows, law, draws = batch.rows, batch.law, batch.draws
    batch.time.next_step()
    past = past_of(rows, law, target)
    sequences = [row.sequence for row in rows]
    room = [target.max_length - len(sequence) for sequence in sequences]
    draft = drafter.draft(Rows(sequences=sequences, room=room, law=law, draws=draws, past=past))
    batch.passed(Phase.DRAFT)
    logits = verify(target, sequences, draft)
    batch.passed(Phase.VERIFY)
    probabilities = law.distributions(logits, lambda: past.before(draft.token_ids, draft.parents))
    acceptances, reads = accept(draft, probabilities, rule, draws)
    batch.passed(Phase.OTHER)
    target.commit(
        [
            [0, *(read.places[node] + 1 for node in kept.path)]
            for kept, read in zip(acceptances, reads, strict=True)
        ]
    )
    batch.passed(Phase.VERIFY)
    drafter.commit(
        [
            [read.scored[node] for node in kept.path if read.scored[node] != ROOT]
            for kept, read in zip(acceptances, reads, strict=True)
        ]
    )
    batch.passed(Phase.DRAFT)
    committed = tuple(
        row.add((*read.tree.tokens(kept.path), kept.extra_token))
        for row, read, kept in zip(rows, reads, acceptances, strict=True)
    )
    batch.passed(Phase.OTHER)
    return BatchStep(
        rows=tuple(rows),
        law=law,
        draft=draft,
        target_logits=logits,
        target_probabilities=probabilities,
        trees=tuple(read.tree for read in reads),
        places=tuple(read.places for read in reads),
        acceptances=tuple(acceptances),
        committed=committed,
        past=past if law.looks_back else None,
    )


def verify(
    target: BatchLM, sequences: Sequence[Sequence[int]], draft: BatchDraft
) -> Float[torch.Tensor, "B places vocabulary"]:
    """The target's logits after every root and every node, in one forward pass."""
    last = sent([[sequence[-1]] for sequence in sequences], target.device)
    tokens = torch.cat([last, draft.token_ids.clamp_min(0)], 1)
    if draft.frame is not None:
        return target.score(tokens, (ROOT, *(parent + 1 for parent in draft.frame)))
    return target.score(tokens, torch.cat([torch.full_like(last, ROOT), draft.parents + 1], 1))


def accept(
    draft: BatchDraft,
    target: Float[torch.Tensor, "B places vocabulary"],
    rule: str,
    draws: BatchDraws,
) -> tuple[list[Acceptance], list[RowRead]]:
    """What a rule keeps of every row's draft; waits for the device once."""
    verified = RULES[rule](draft, target)
    if rule == "greedy":
        is_law = torch.isfinite(verified.left.amax(-1))
        extra = torch.where(is_law, verified.left.argmax(-1), NO_LAW)
        walk = greedy_walk
    else:
        extra = draws.extra_tokens(verified.left, _without_children(draft))
        walk = leaves_first_walk if rule in LEAVES_FIRST else top_down_walk
    reads = read_back(draft, verified.keep, extra)
    acceptances = []
    for number, read in enumerate(reads):
        draws.used(number, Purpose.DRAFT, read.draws)
        acceptances.append(
            walk(
                RowVerified(
                    tree=read.tree,
                    keep=read.keep,
                    extra_tokens=read.extra_tokens,
                    coin=lambda probability, number=number: draws.coin(number, probability),  # type: ignore[misc]
                    extra=lambda place, token, purpose, number=number, read=read: (  # type: ignore[misc]
                        draws.extra_token(number, read.frame_place(place), token, purpose)
                    ),
                )
            )
        )
    return acceptances, reads


def past_of(rows: Sequence[Row], law: BatchLaw, target: BatchLM) -> Past:
    """What the rows have seen; empty where nothing looks back at it."""
    if not law.looks_back:
        return Past([()] * len(rows), [0] * len(rows), 0, target.device)
    return Past(
        [row.sequence for row in rows],
        [len(row.job.prompt) for row in rows],
        target.vocabulary_size,
        target.device,
    )


def _without_children(draft: BatchDraft) -> torch.Tensor:
    """``[B, n + 1]`` whether the root (index 0) and each node (``i + 1``) has no child."""
    batch, n = draft.token_ids.shape
    above = torch.where(draft.valid, draft.parents + 1, n + 1)
    has_child = torch.zeros(batch, n + 2, dtype=torch.bool, device=above.device)
    return ~has_child.scatter(1, above, True)[:, : n + 1]
