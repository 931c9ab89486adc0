"""A worked example of the figures: three cases whose numbers were added up by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from draftproof.statistics.metrics import METRICS
from draftproof.statistics.peers import as_peers
from draftproof.statistics.sums import prompt_sums
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    DecodedOutput,
    Verdict,
    columns_from,
    empty_columns,
)

Figures = Callable[[Sequence[CaseRecord]], Mapping[str, float]]
"""From cases to named figures."""

_BY_STEPS = ("acceptance_rate_drafted", "accepted_length", "block_efficiency")


def figures(cases: Sequence[CaseRecord]) -> dict[str, float]:
    """The figures that steps alone decide, pooled over all cases, and two projects' own."""
    totals = prompt_sums(cases).totals
    named = {
        metric.name: float(totals[metric.numerator].sum() / totals[metric.denominator].sum())
        for metric in METRICS
        if metric.name in _BY_STEPS
    }
    peers = as_peers(cases, ("vllm", "sglang"))
    named["drafted_per_step"] = float(totals["drafted"].sum() / totals["steps"].sum())
    vllm = peers["vllm"]["mean_acceptance_length"]
    sglang = peers["sglang"]["spec_accept_length"]
    for name, value in (("vllm", vllm), ("sglang", sglang)):
        if not isinstance(value, float):
            raise TypeError(f"the figure of {name} is a single number")
        named[name] = value
    return named


EXPECTED: Mapping[str, float] = {
    "acceptance_rate_drafted": 10 / 14,
    "accepted_length": 10 / 4,
    "block_efficiency": 13 / 4,
    "drafted_per_step": 14 / 4,
    "vllm": 1 + 10 / 3,
    "sglang": 16 / 4,
}
"""The example's figures, from the steps as `example` lists them: 2, 10, 2 and 0 nodes drafted, of
which 1, 9, 0 and 0 were accepted, and 2, 9, 1 and 1 tokens committed (the second step was cut by a
stop token inside its accepted prefix, the fourth had no draft)."""


def example() -> list[CaseRecord]:
    """Three cases: one step each of two, and a third with a rejected draft and none."""
    return [
        _case("a", [(2, 2, 1, 2)]),
        _case("b", [(10, 10, 9, 9)], stop_reason="stop_token"),
        _case("c", [(2, 1, 0, 1), (0, 0, 0, 1)]),
    ]


def wrong_figures(computed: Figures) -> list[str]:
    """A line for each figure of the example that differs from the one added up by hand."""
    found = computed(example())
    return [
        f"{name} of the worked example is {found.get(name, math.nan):.4g}, and by hand {value:.4g}"
        for name, value in EXPECTED.items()
        if not math.isclose(found.get(name, math.nan), value, rel_tol=1e-9)
    ]


def _case(
    name: str, steps: list[tuple[int, int, int, int]], stop_reason: str = "length"
) -> CaseRecord:
    """A case of steps ``(nodes, depth, accepted, committed)``, with no node told."""
    nodes, depth, accepted, committed = (np.array(column) for column in zip(*steps, strict=True))
    roots = 3 + np.cumsum([0, *committed[:-1]])
    output = DecodedOutput(
        token_ids=tuple(range(1 + int(committed.sum()))), stop_reason=stop_reason, seconds=1.0
    )
    return CaseRecord(
        case_id=name,
        domain="code",
        prompt_tokens=3,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
        steps=columns_from(
            STEP_COLUMNS,
            {
                "step": np.arange(len(steps)),
                "nodes": nodes,
                "depth": depth,
                "accepted_length": accepted,
                "committed_tokens": committed,
                "root_position": roots,
                "draft_seconds": np.zeros(len(steps)),
                "verify_seconds": np.zeros(len(steps)),
            },
        ),
        nodes=empty_columns(NODE_COLUMNS),
    )
