"""Costs: read from people's files, made monotone, and what follows from them."""

import json

import numpy as np
import pytest

from draftproof.errors import UsageError
from draftproof.replay.costs import CostModel, ForwardCosts, load_costs

BY_HAND = {"target": {"1": 20, "4": 22, "16": 40}, "drafts": {"small": {"1": 2, "8": 4}}}


def costs(**changes):
    return CostModel.from_json({**BY_HAND, **changes}, "costs.json")


def test_costs_by_hand_are_linear_between_widths():
    target = costs().target
    assert target.of(np.array([1, 2.5, 4, 10, 16]), 100).tolist() == [20, 21, 22, 31, 40]
    assert costs().cost_ratio("small", 100) == pytest.approx(0.1)


def test_contexts_count_where_they_are_given():
    by_context = {"contexts": {"100": {"1": 10, "2": 12}, "300": {"1": 20, "2": 22}}}
    target = costs(target=by_context).target
    assert target.of(1, np.array([0, 100, 150, 300, 900])).tolist() == [10, 10, 12.5, 20, 20]


def test_a_fall_is_noise():
    measured = np.array([[3.0, 2.0, 4.0], [5.0, 6.0, 5.0]])
    made = ForwardCosts.monotone((1, 2, 4), (10, 100), measured, 0.1)
    assert (np.diff(made.milliseconds, axis=0) >= 0).all()
    assert (np.diff(made.milliseconds, axis=1) >= 0).all()
    assert made.milliseconds[0].tolist() == [2.5, 2.5, 4.0]


def test_what_is_saved_is_read(tmp_path):
    made = costs(step=0.5, level=0.1, plain=0.2, prompts={"target": [1, 0.1], "small": [0.5, 0.01]})
    made.save(tmp_path / "costs.json")
    again = load_costs(tmp_path / "costs.json")
    assert again.to_json() == made.to_json()
    assert (again.step_ms, again.level_ms, again.plain_ms) == (0.5, 0.1, 0.2)
    assert again.prompt(np.array([10]), "small").tolist() == [1 + 1 + 0.5 + 0.1]


def test_dearer_draft_passes():
    assert costs().scaled(3).of_draft("small").of(1, 0) == 6
    assert costs().scaled(3).target.of(1, 0) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drafts": None}, "costs need 'target' and 'drafts'"),
        ({"speed": 3}, "unknown key 'speed'; known: device"),
        ({"target": {"2": 20}}, "the first of them is 1 token"),
        ({"target": {"1": 0}}, "takes a positive number of milliseconds"),
        ({"target": {"1": "fast"}}, "give milliseconds by tokens scored"),
        ({"target": 20}, "give milliseconds by tokens scored"),
        ({"target": {"contexts": {"1": {"1": 2}, "9": {"1": 2, "4": 3}}}}, "needs the same widths"),
        ({"prompts": {"target": 3}}, "each of 'prompts' is a pair"),
    ],
)
def test_a_file_that_is_no_cost_says_why(changes, message):
    with pytest.raises(UsageError, match=message):
        costs(**changes)


def test_widths_that_are_not_there():
    with pytest.raises(UsageError, match="no forward pass over 17 tokens, only up to 16"):
        costs().target.of(17, 0)
    with pytest.raises(UsageError, match="no draft model 'large' .they have: small."):
        costs().of_draft("large")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="there are no costs at .*--costs FILE"):
        load_costs(tmp_path / "costs.json")
    (tmp_path / "costs.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        load_costs(tmp_path / "costs.json")
    (tmp_path / "costs.json").write_text(json.dumps([1]))
    with pytest.raises(UsageError, match="is not an object of costs"):
        load_costs(tmp_path / "costs.json")
