"""Facts of nodes, worked out by hand on tables, and each of them told wrongly."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.node_facts import wrong_facts
from draftproof.conformance.subject import GREEDY
from draftproof.models.table import TableLM
from draftproof.shapes import parse_tree

LN2 = math.log(2)


def table(*laws):
    """A model whose law after a token 0, 1, … is the one of that number."""
    rows = torch.tensor(laws, dtype=torch.float64)
    return TableLM(lambda context: rows[context[-1]], rows.shape[1])


TARGET = table([0.5, 0.25, 0.125, 0.125], [0.125, 0.125, 0.25, 0.5], [0.25] * 4, [0.25] * 4)
DRAFT = table([0.25, 0.5, 0.125, 0.125], [0.25] * 4, [0.25] * 4, [0.25] * 4)
MODELS = {"target": TARGET, "draft": DRAFT}
SEQUENCE = (3, 0)

NODES = {
    # After the root's token 0 the tokens 1 and 0, and after that 1 the token 2.
    "parent": np.array([-1, -1, 0]),
    "token_id": np.array([1, 0, 2]),
    "target_probability": np.array([0.25, 0.5, 0.25]),
    "draft_probability": np.array([0.5, 0.25, 0.25]),
    "overlap": np.array([0.75, 0.75, 0.75]),
    "target_entropy": np.array([1.75, 1.75, 1.75]) * LN2,
    "draft_entropy": np.array([1.75, 1.75, 2.0]) * LN2,
    "target_rank": np.array([1, 0, 1]),
    "draft_rank": np.array([0, 1, 2]),
}


def told(**changes):
    return {**NODES, **{name: np.array(values) for name, values in changes.items()}}


def problems(nodes=NODES, models=MODELS, sampling=GREEDY):
    return list(wrong_facts(nodes, SEQUENCE, models, sampling))


def test_facts_worked_out_by_hand_are_the_models():
    assert problems() == []


@pytest.mark.parametrize(
    ("column", "node", "says"),
    [
        ("target_probability", 0, "0.25"),
        ("target_probability", 2, "0.25"),
        ("draft_probability", 1, "0.25"),
        ("overlap", 2, "0.75"),
        ("target_entropy", 2, "1.21301"),
        ("draft_entropy", 2, "1.38629"),
        ("target_rank", 1, "0"),
        ("draft_rank", 0, "0"),
        ("draft_rank", 1, "1"),
    ],
)
def test_each_fact_that_is_told_otherwise_is_named(column, node, says):
    other = NODES[column].astype(float)
    other[node] += 1 if column.endswith("rank") else 3e-5
    name = "its overlap" if column == "overlap" else f"its {column}"
    [problem] = problems(told(**{column: other}))
    assert problem.startswith(f"node {node}: {name} is told as ")
    assert problem.endswith(f", and the model says {says}")


@pytest.mark.parametrize("column", [name for name in NODES if name not in ("parent", "token_id")])
def test_a_fact_that_is_not_told_is_named(column):
    missing = NODES[column].astype(float)
    missing[0] = np.nan
    [problem] = problems(told(**{column: missing}))
    assert f"its {column} is told as nan" in problem


def test_rounding_of_a_float32_column_is_no_fault():
    near = NODES["target_probability"] + 5e-6
    assert problems(told(target_probability=near)) == []


@pytest.mark.parametrize(("rank", "is_right"), [(-1, False), (0, True), (3, True), (4, False)])
def test_equal_logits_may_come_in_any_order(rank, is_right):
    """The draft model says the same of all four tokens after token 1."""
    found = problems(told(draft_rank=[0, 1, rank]))
    expected = f"node 2: its draft_rank is told as {rank}, and the model says 0 to 3"
    assert found == ([] if is_right else [expected])


def test_what_the_draft_model_says_is_judged_only_where_it_is_known():
    wrong = told(draft_probability=[np.nan] * 3, draft_rank=[-1] * 3, overlap=[np.nan] * 3)
    assert problems(wrong, {"target": TARGET}) == []
    assert len(problems(wrong)) == 9


def test_above_temperature_0_facts_are_stated_after_temperature_and_top_k():
    """Weights 4, 2, 1, 1: squared, and without the last two, 4/5 and 1/5."""
    nodes = {name: NODES[name][:2] for name in NODES}
    nodes["target_probability"] = np.array([0.2, 0.8])
    nodes["target_entropy"] = np.full(2, 0.8 * math.log(1.25) + 0.2 * math.log(5))
    sampling = Sampling(temperature=0.5, top_k=2)
    assert problems(nodes, {"target": TARGET}, sampling) == []
    unfiltered = {**nodes, "target_probability": np.array([2 / 11, 8 / 11])}
    assert len(problems(unfiltered, {"target": TARGET}, sampling)) == 2
    assert len(problems(nodes, {"target": TARGET}, Sampling(temperature=0.5))) == 4


def test_where_rounding_decides_what_top_k_takes_out_only_ranks_are_judged():
    """The third and the fourth of 4, 2, 1, 1 are equal: which of them stays is nobody's fault."""
    nodes = {name: NODES[name][:2] for name in NODES}
    models, sampling = {"target": TARGET}, Sampling(temperature=1.0, top_k=3)
    assert problems({**nodes, "target_probability": np.array([0.9, 0.9])}, models, sampling) == []
    assert len(problems({**nodes, "target_rank": np.array([1, 1])}, models, sampling)) == 1


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(tree=parse_tree("lookup:3"), max_new_tokens=2)
    return make_subject(config, prompts=1, report=lambda line: None)


def test_nothing_is_said_where_nothing_was_drafted(subject):
    """A lookup finds nothing in two tokens, and has no draft model in any case."""
    [examined] = examine(subject, ["facts of nodes"])
    assert examined.finding.status is Status.NOT_TRIED
    assert examined.finding.lines[0].endswith("nothing was drafted")
    longer = replace(subject, config=replace(subject.config, max_new_tokens=32))
    [examined] = examine(longer, ["facts of nodes"])
    assert examined.finding.status is Status.PASSED
    assert examined.finding.places > 0
