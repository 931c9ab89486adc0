"""Settings of speculation, and what each would have kept and cost on recorded prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.errors import UsageError
from draftproof.replay.adaptive import replay_early_chains
from draftproof.replay.alignment import Alignment, align
from draftproof.replay.costs import CostModel
from draftproof.replay.coupling import replay_chains
from draftproof.replay.lookup import replay_lookup
from draftproof.replay.matching import replay_trees
from draftproof.replay.pricing import Price, Workload, price
from draftproof.replay.recorded import RecordedCase, Recording
from draftproof.replay.sums import ReplaySums
from draftproof.replay.trees import Paths, tree_paths
from draftproof.shapes import NO_TREE, ChainShape, LookupShape, TreeShape

NONE, LOOKUP = "none", "lookup"
"""Drafters without a model: no speculation, and prompt lookup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A setting of speculation.

    Attributes:
        draft: Name of a draft model, or `NONE`, or `LOOKUP`.
        shape: Of the drafts.
    """

    draft: str
    shape: TreeShape

    def __str__(self) -> str:
        return NONE if self.draft == NONE else f"{self.draft}, {self.shape}"


PLAIN = Candidate(draft=NONE, shape=NO_TREE)
"""Do not speculate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What some candidates would have kept and cost; each ``[candidates, cases]``.

    Attributes:
        steps: Target forward passes after prefill.
        drafted: Tokens proposed.
        accepted: Tokens kept.
        seconds: Prefill included.
        draft_seconds: Of these, the draft model's forward passes while decoding.
    """

    steps: np.ndarray
    drafted: np.ndarray
    accepted: np.ndarray
    seconds: np.ndarray
    draft_seconds: np.ndarray

    def speedups(self, plain: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """``[candidates]`` plain ÷ speculative seconds over some cases; 1 where none takes time."""
        taken = self.seconds[:, rows].sum(axis=1)
        speedups: np.ndarray = np.ones_like(taken)
        np.divide(plain[rows].sum(), taken, out=speedups, where=taken > 0)
        return speedups


class Sweep:
    """Recorded prompts on which any candidate can be replayed and priced.

    Args:
        recording: Decides what is kept.
        cases: Some of its cases.
        costs: Decide what it takes.
    """

    def __init__(
        self, recording: Recording, cases: Sequence[RecordedCase], costs: CostModel
    ) -> None:
        self.recording = recording
        self.cases = tuple(cases)
        self.costs = costs
        self.workload = Workload(
            prompt_tokens=np.array([len(case.prompt_token_ids) for case in cases]),
            committed=np.array([case.committed for case in cases]),
        )
        self.plain = self.workload.plain_seconds(costs)
        self._alignments: dict[str, Alignment] = {}

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def committed(self) -> np.ndarray:
        """``[cases]`` tokens that steps commit: all of an output but its first."""
        return self.workload.committed - 1

    def cost_ratio(self, draft: str) -> float:
        """A draft model's pass over one token ÷ the target's, in the middle of these outputs."""
        context = float(np.mean(self.workload.prompt_tokens + self.committed / 2))
        return self.costs.cost_ratio(draft, context)

    def alignment(self, draft: str) -> Alignment:
        """The cases under a draft model.

        Raises:
            UsageError: It was not recorded.
        """
        if draft not in self._alignments:
            self.recording.require_draft(draft)
            self._alignments[draft] = align(self.cases, draft, self.recording.info)
        return self._alignments[draft]

    def measure(self, candidates: Sequence[Candidate]) -> Measured:
        """Replay and price candidates.

        Raises:
            UsageError: The recording does not decide one of them, or the costs do not reach it.
        """
        shape = (len(candidates), len(self.cases))
        steps, drafted, accepted, seconds, drafting = np.zeros((5, *shape))
        groups: dict[tuple[str, ...], list[int]] = {}
        for number, candidate in enumerate(candidates):
            groups.setdefault(self._group(candidate), []).append(number)
        for (kind, *_), numbers in groups.items():
            chosen = [candidates[number] for number in numbers]
            sums, spent = self._replayed(kind, chosen)
            steps[numbers], drafted[numbers] = sums.steps, sums.drafted
            accepted[numbers], seconds[numbers] = sums.accepted, spent.seconds
            drafting[numbers] = spent.draft_seconds
        return Measured(
            steps=steps,
            drafted=drafted,
            accepted=accepted,
            seconds=seconds,
            draft_seconds=drafting,
        )

    def _group(self, candidate: Candidate) -> tuple[str, ...]:
        """Candidates that are replayed together: the name of how, and of the draft model."""
        if candidate.draft == NONE:
            return ("plain",)
        if isinstance(candidate.shape, LookupShape):
            return ("lookups", str(candidate.shape.ngram))
        if isinstance(candidate.shape, ChainShape) and not candidate.shape.is_fixed:
            return ("early", candidate.draft)
        if self.recording.info.temperature and isinstance(candidate.shape, ChainShape):
            return ("drawn", candidate.draft)
        return ("fixed", candidate.draft)

    def _replayed(self, kind: str, candidates: Sequence[Candidate]) -> tuple[ReplaySums, Price]:
        """Candidates of one group of `_group`."""
        match kind:
            case "plain":
                return self._plain(candidates)
            case "lookups":
                return self._lookups(candidates)
            case "early":
                return self._early(candidates)
            case "drawn":
                return self._drawn(candidates)
            case _:
                return self._fixed(candidates)

    def _plain(self, candidates: Sequence[Candidate]) -> tuple[ReplaySums, Price]:
        shape = (len(candidates), 1)
        nothing = np.zeros((len(candidates), len(self.cases)))
        context = self.workload.prompt_tokens + self.committed / 2
        sums = ReplaySums(
            steps=np.tile(self.committed.astype(float), shape),
            drafted=nothing,
            accepted=nothing,
            root_positions=np.tile(self.committed * context, shape),
            committed=self.committed,
        )
        return sums, Price(np.tile(self.plain, shape), nothing)

    def _fixed(self, candidates: Sequence[Candidate]) -> tuple[ReplaySums, Price]:
        draft = candidates[0].draft
        trees = [tree_paths(candidate.shape) for candidate in candidates]
        ranks = [max((path[-1] for path in tree), default=-1) + 1 for tree in trees]
        widest = int(np.argmax(ranks))
        self.recording.require_ranks(ranks[widest], f"the tree {candidates[widest].shape}")
        sums = replay_trees(self.alignment(draft), trees)
        return sums, self._priced(sums, trees, draft)

    def _drawn(self, candidates: Sequence[Candidate]) -> tuple[ReplaySums, Price]:
        draft, chains = candidates[0].draft, [tree_paths(each.shape) for each in candidates]
        sums = replay_chains(self.alignment(draft), list(map(len, chains)))
        return sums, self._priced(sums, chains, draft)

    def _early(self, candidates: Sequence[Candidate]) -> tuple[ReplaySums, Price]:
        draft, info = candidates[0].draft, self.recording.info
        shapes = [each.shape for each in candidates if isinstance(each.shape, ChainShape)]
        longest = max(shape.length for shape in shapes)
        if info.temperature:
            tree_paths(shapes[0])  # which says why it cannot
        if longest > info.rollout:
            raise UsageError(
                f"a chain of {longest} tokens that ends early needs as many tokens of the draft "
                f"model's own chains, and the recording has {info.rollout}; record again with "
                f"--rollout {longest}"
            )
        self.recording.require_draft(draft)
        found = replay_early_chains(self.cases, draft, shapes, info)
        return found.sums, found.price(self.workload, self.costs, draft)

    def _lookups(self, candidates: Sequence[Candidate]) -> tuple[ReplaySums, Price]:
        shapes = [each.shape for each in candidates if isinstance(each.shape, LookupShape)]
        lengths = [shape.length for shape in shapes]
        found = replay_lookup(self.cases, lengths, shapes[0].ngram, self.recording.info)
        return found.sums, found.price(self.workload, self.costs, None)

    def _priced(self, sums: ReplaySums, trees: Sequence[Paths], draft: str) -> Price:
        return price(sums, trees, self.workload, self.costs, draft)
