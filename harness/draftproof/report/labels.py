"""Every label that reports print, in one place: the glossary's words."""

from __future__ import annotations

from typing import NamedTuple

from draftproof.data.prompt import OVERALL as OVERALL


class Label(NamedTuple):
    """How a column is headed.

    Attributes:
        term: The full name.
        header: The same for a narrow column, in short lines.
        decimals: Decimal places of its values; 3 for rates, which are fractions.
    """

    term: str
    header: str
    decimals: int = 3


METRIC_LABELS: dict[str, Label] = {
    "acceptance_probability": Label(
        "acceptance probability of a node (mean)", "acceptance\nprobability\nof a node"
    ),
    "study_expected_length": Label(
        "study's expected accepted length", "study's\nexpected\nlength", 2
    ),
    "greedy_match": Label("greedy match of a node (share)", "greedy\nmatch"),
    "acceptance_rate_drafted": Label("acceptance rate ÷ drafted", "accepted\n÷ drafted"),
    "acceptance_rate_reached": Label("acceptance rate ÷ reached", "accepted\n÷ reached"),
    "first_child_expected_length": Label(
        "expected accepted length (first-child path)", "1st-child\nexpected\nlength", 2
    ),
    "accepted_length": Label("accepted length", "accepted\nlength", 2),
    "block_efficiency": Label("block efficiency", "block\nefficiency", 2),
}
"""By key of `draftproof.statistics.METRICS`, and of `STUDY_LENGTH`."""

DEPTH_LABELS: dict[str, Label] = {
    "acceptance_probability": METRIC_LABELS["acceptance_probability"],
    "greedy_match": METRIC_LABELS["greedy_match"],
    "reach_rate": Label("reach rate", "reach\nrate"),
    "conditional_acceptance": Label("conditional acceptance", "conditional\nacceptance"),
}
"""By key of `draftproof.statistics.DEPTH_METRICS`."""

SAMPLE_LABELS: dict[str, Label] = {
    "acceptance_probability": Label("nodes", "nodes", 0),
    "block_efficiency": Label("steps", "steps", 0),
}
"""Metrics whose n, design effect and effective n stand for all those over nodes, or over steps."""

ACCURACY_LABELS: dict[str, Label] = {
    "plain": Label("accuracy of plain outputs", "accuracy,\nplain"),
    "speculative": Label("accuracy of speculative outputs", "accuracy,\nspeculative"),
}
"""By field of `draftproof.statistics.Accuracy`."""

ACCURACY_COUNTS: dict[str, Label] = {
    "gained": Label("right only with speculation", "right only\nspeculative", 0),
    "lost": Label("right only without speculation", "right only\nplain", 0),
    "cut": Label("cut off at the length limit", "cut off\nat limit", 0),
}
"""Likewise: numbers of prompts."""

DESIGN_EFFECT = Label("design effect", "design\neffect", 1)
EFFECTIVE = Label("effective sample size", "effective\nsample", 0)
PROMPT_MEAN = "mean of prompts"

DOMAIN, DEPTH = "domain", "depth"
PROMPTS, STEPS, NODES = "prompts", "steps", "nodes"
VERDICTS = "verdicts"

VERDICT_LABELS: dict[str, str] = {
    "identical": "identical",
    "numerical": "numerical",
    "algorithmic": "algorithmic",
    "sampled": "sampled",
    "unjudged": "not judged",
    "errors": "in error",
}
"""By field of `draftproof.statistics.VerdictCounts`."""

NOT_ESTIMABLE = "–"
"""Stands for a value or an interval that cannot be estimated; the reason is given below."""
