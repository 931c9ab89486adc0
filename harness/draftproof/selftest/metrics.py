"""Faults of accounting: what is counted of a step, and what is divided by what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from draftproof.config import RunConfig
from draftproof.decoding import Step
from draftproof.engines.parts import Parts
from draftproof.engines.protocol import Counts
from draftproof.recording import StepRecorder, StepSeconds, acceptance_probability
from draftproof.selftest.figures import figures
from draftproof.selftest.mutant import OWN, FaultClass, Mutant, Plant
from draftproof.trace import CaseRecord, Columns


class CountsAfterRejection(StepRecorder):
    """M01: every drafted token that is the target's choice counts as accepted."""

    def step_columns(self, index: int, step: Step, committed: tuple[int, ...]) -> dict[str, int]:
        tree = step.draft.tree
        best = step.target_logits.argmax(-1).tolist()
        matches = sum(
            token == best[parent + 1]
            for token, parent in zip(tree.token_ids, tree.parents, strict=True)
        )
        return {**super().step_columns(index, step, committed), "accepted_length": matches}


class CountsBeforeTruncation(StepRecorder):
    """M05: tokens after a stop token, which were cut off, are counted."""

    def step_columns(self, index: int, step: Step, committed: tuple[int, ...]) -> dict[str, int]:
        columns = super().step_columns(index, step, committed)
        return {**columns, "committed_tokens": len(step.emitted)}


class AllReached(StepRecorder):
    """Every node is told to have been reached."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        return {**columns, "reached": np.ones_like(columns["reached"])}


class NoneReached(StepRecorder):
    """No rejected node is told to have been reached."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        return {**columns, "reached": columns["accepted"]}


class PositionsFromTheOutput(StepRecorder):
    """Positions are those in the output, not in the sequence."""

    def step_columns(self, index: int, step: Step, committed: tuple[int, ...]) -> dict[str, int]:
        columns = super().step_columns(index, step, committed)
        position = columns["root_position"] - step.law.prompt_length
        return {**columns, "root_position": position}


class SiblingsProbability(StepRecorder):
    """A node's q is that of the node before it."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        return {**columns, "draft_probability": np.roll(columns["draft_probability"], 1)}


class EntropyInBits(StepRecorder):
    """Entropies are told in bits, not in nats."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        bits = {name: columns[name] / np.log(2) for name in ("target_entropy", "draft_entropy")}
        return {**columns, **bits}


class RanksFromOne(StepRecorder):
    """The most probable token is told to have rank 1."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        return {**columns, **{name: columns[name] + 1 for name in ("target_rank", "draft_rank")}}


class ModelsChanged(StepRecorder):
    """What the target says of a node is told as the draft model's, and the other way round."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        facts = ("probability", "entropy", "rank")
        changed = {
            f"{to}_{fact}": columns[f"{of}_{fact}"]
            for fact in facts
            for to, of in (("target", "draft"), ("draft", "target"))
        }
        p, q = changed["target_probability"], changed["draft_probability"]
        return {**columns, **changed, "acceptance_probability": acceptance_probability(p, q)}


class OverlapOfNodes(StepRecorder):
    """The overlap is summed over the drafted siblings, not over the vocabulary."""

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        columns = super().node_columns(index, step)
        least = np.minimum(columns["target_probability"], columns["draft_probability"])
        same = columns["parent"][:, None] == columns["parent"]
        return {**columns, "overlap": (same * least).sum(1)}


class NegativeSeconds(StepRecorder):
    """Seconds are the start less the end."""

    def __init__(self, step_seconds: Callable[[], StepSeconds]) -> None:
        super().__init__(lambda: StepSeconds(*(-value for value in step_seconds())))


class Milliseconds(StepRecorder):
    """The phases of steps are told in milliseconds."""

    def __init__(self, step_seconds: Callable[[], StepSeconds]) -> None:
        super().__init__(lambda: StepSeconds(*(1000 * value for value in step_seconds())))


def recorded_by(make: type[StepRecorder]) -> Plant:
    """A wrong recorder."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, make_recorder=make)

    return plant


def counted_by(count: Callable[[Columns], Counts]) -> Plant:
    """Wrong counters of the engine's own."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, counts=count)

    return plant


def bonus_counted(steps: Columns) -> Counts:
    """M02: the extra token is counted as drafted and as accepted."""
    n = len(steps["step"])
    return Counts(
        steps=n,
        drafted=int(steps["nodes"].sum()) + n,
        accepted=int(steps["accepted_length"].sum()) + n,
    )


def padding_counted(steps: Columns) -> Counts:
    """M03: every step counts as many drafted tokens as the longest draft."""
    n = len(steps["step"])
    return Counts(
        steps=n,
        drafted=n * (1 + int(steps["nodes"].max(initial=0))),
        accepted=int(steps["accepted_length"].sum()),
    )


def chain_assumed(steps: Columns) -> Counts:
    """M14: a draft counts as many tokens as it is deep, and one."""
    return Counts(
        steps=len(steps["step"]),
        drafted=int((steps["depth"] + 1).sum()),
        accepted=int(steps["accepted_length"].sum()),
    )


def without_bonus(cases: Sequence[CaseRecord]) -> dict[str, float]:
    """M04: a length without the bonus token under the name that includes it."""
    found = figures(cases)
    return {**found, "vllm": found["vllm"] - 1}


def mean_of_ratios(cases: Sequence[CaseRecord]) -> dict[str, float]:
    """M07: the mean of the steps' own rates, 0 where nothing was drafted."""
    rates = [
        float(accepted / nodes) if nodes else 0.0
        for case in cases
        for accepted, nodes in zip(case.steps["accepted_length"], case.steps["nodes"], strict=True)
    ]
    return {**figures(cases), "acceptance_rate_drafted": float(np.mean(rates))}


def rate_alone(cases: Sequence[CaseRecord]) -> dict[str, float]:
    """G06: the rate of accepted tokens is told, and not how many are drafted a step."""
    return {name: value for name, value in figures(cases).items() if name != "drafted_per_step"}


def committed_per_draft(cases: Sequence[CaseRecord]) -> dict[str, float]:
    """Steps without a draft are left out of block efficiency."""
    committed = sum(int(case.steps["committed_tokens"].sum()) for case in cases)
    drafts = sum(int(np.count_nonzero(case.steps["nodes"])) for case in cases)
    return {**figures(cases), "block_efficiency": committed / drafts}


_planted = partial(Mutant, fault_class=FaultClass.METRICS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="M01",
        title="accepted tokens after the first rejection are counted",
        source="vllm-project/vllm PR 2658",
        plant=recorded_by(CountsAfterRejection),
    ),
    _planted(
        id="M02",
        title="the bonus token is counted as accepted",
        source="sgl-project/sglang PR 23530",
        plant=counted_by(bonus_counted),
    ),
    _planted(
        id="M03",
        title="drafts that were never verified are counted",
        source="ggml-org/llama.cpp PR 14104, vllm-project/vllm PR 50518",
        plant=counted_by(padding_counted),
    ),
    _planted(
        id="M04",
        title="a length without the bonus token under the name of the one with it",
        source="vllm-project/vllm PR 17908, SafeAILab/EAGLE #146",
        figures=without_bonus,
    ),
    _planted(
        id="M05",
        title="tokens cut off after a stop token are counted",
        source="vllm-project/vllm #56101, hemingkx/Spec-Bench 9262209",
        plant=recorded_by(CountsBeforeTruncation),
    ),
    _planted(
        id="M07",
        title="mean of ratios in place of the ratio of sums",
        source="THUDM/slime PR 2240, vllm-project/vllm #42508",
        figures=mean_of_ratios,
    ),
    _planted(
        id="M14",
        title="drafted tokens counted as if every draft were a chain",
        source="sgl-project/sglang PR 13212",
        plant=counted_by(chain_assumed),
        tree="3x2",
    ),
    _planted(
        id="W29",
        title="every node is told to have been reached",
        source=OWN,
        plant=recorded_by(AllReached),
    ),
    _planted(
        id="W30",
        title="no rejected node is told to have been reached",
        source=OWN,
        plant=recorded_by(NoneReached),
    ),
    _planted(
        id="W31",
        title="positions counted from the output's start",
        source=OWN,
        plant=recorded_by(PositionsFromTheOutput),
    ),
    _planted(
        id="W32",
        title="a node is told the draft probability of the node before it",
        source=OWN,
        plant=recorded_by(SiblingsProbability),
    ),
    _planted(
        id="W33",
        title="negative seconds",
        source=OWN,
        plant=recorded_by(NegativeSeconds),
    ),
    _planted(
        id="W34",
        title="steps without a draft left out of block efficiency",
        source=OWN,
        figures=committed_per_draft,
    ),
    _planted(
        id="W38",
        title="entropies in bits",
        source=OWN,
        plant=recorded_by(EntropyInBits),
    ),
    _planted(
        id="W39",
        title="ranks counted from 1",
        source=OWN,
        plant=recorded_by(RanksFromOne),
    ),
    _planted(
        id="W40",
        title="a node's facts under the two models change places",
        source=OWN,
        plant=recorded_by(ModelsChanged),
    ),
    _planted(
        id="W41",
        title="overlap summed over siblings, not over the vocabulary",
        source=OWN,
        plant=recorded_by(OverlapOfNodes),
        tree="3x2",
    ),
    _planted(
        id="W42",
        title="seconds of steps in milliseconds",
        source=OWN,
        plant=recorded_by(Milliseconds),
    ),
)
"""Every planted fault of accounting."""
