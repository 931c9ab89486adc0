"""Costs: read from people's files, made monotone, and what follows from them."""

import json
import math

import numpy as np
import pytest

from draftproof.errors import UsageError
from draftproof.replay.costs import CostModel, ForwardCosts, load_costs
from draftproof.replay.pricing import Widths, Workload, price, step_cost
from draftproof.replay.sums import ReplaySums
from draftproof.replay.variable import VariableSums

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
    made = costs(
        step=0.5, level=0.1, node=0.3, plain=0.2, prompts={"target": [1, 0.1], "small": [0.5, 0.01]}
    )
    made.save(tmp_path / "costs.json")
    again = load_costs(tmp_path / "costs.json")
    assert again.to_json() == made.to_json()
    assert (again.step_ms, again.level_ms, again.node_ms, again.plain_ms) == (0.5, 0.1, 0.3, 0.2)
    assert again.prompt(np.array([10]), "small").tolist() == [1 + 1 + 0.5 + 0.1]


def test_a_step_costs_its_passes_and_what_the_engine_adds_to_each_part():
    made = costs(step=0.5, level=0.1, node=0.01)
    step = step_cost(Widths(nodes=3, levels=(1, 2)), made, "small", 0)
    assert step.target == pytest.approx(22 + 0.5 + 2 * 0.1 + 3 * 0.01)
    assert step.draft == pytest.approx(2 + 2 + 2 / 7)
    without = step_cost(Widths(nodes=3, levels=()), made, None, 0)
    assert (without.target, without.draft) == (pytest.approx(22 + 0.5 + 3 * 0.01), 0)


def test_drafts_of_varying_length_cost_what_their_steps_do():
    """Two steps of three and one tokens, each with a pass a token."""
    made = costs(step=0.5, level=0.1, node=0.01)
    own = ReplaySums(
        steps=np.array([[2.0]]),
        drafted=np.array([[4.0]]),
        accepted=np.array([[2.0]]),
        root_positions=np.array([[0.0]]),
        committed=np.array([4]),
    )
    by_nodes = np.array([[[0.0, 1.0, 0.0, 1.0]]])
    sums = VariableSums(sums=own, steps_by_nodes=by_nodes, passes=np.array([[4.0]]))
    workload = Workload(prompt_tokens=np.array([1]), committed=np.array([5]))
    [[seconds]] = sums.price(workload, made, "small").seconds.tolist()
    alike = [step_cost(Widths(nodes=n, levels=(1,) * n), made, "small", 0) for n in (1, 3)]
    assert seconds * 1000 == pytest.approx(sum(float(a.target + a.draft) for a in alike))


def test_a_step_is_priced_at_the_mean_context_of_its_prompt():
    """Two steps from roots 100 and 300, at 10 ms and 20 ms a pass of the target: 15 ms each."""
    by_context = {"contexts": {"100": {"1": 10, "3": 10}, "300": {"1": 20, "3": 20}}}
    made = costs(target=by_context, drafts={"small": {"1": 1, "8": 1}})
    own = ReplaySums(
        steps=np.array([[2.0]]),
        drafted=np.array([[4.0]]),
        accepted=np.array([[2.0]]),
        root_positions=np.array([[400.0]]),
        committed=np.array([4]),
    )
    workload = Workload(prompt_tokens=np.array([100]), committed=np.array([5]))
    fixed = price(own, [((0,), (0, 0))], workload, made, "small")
    by_nodes = np.array([[[0.0, 0.0, 2.0]]])
    variable = VariableSums(sums=own, steps_by_nodes=by_nodes, passes=np.array([[4.0]]))
    for found in (fixed, variable.price(workload, made, "small")):
        prompt = made.prompt(workload.prompt_tokens, "small")[0]
        assert found.seconds[0, 0] * 1000 == pytest.approx(prompt + 2 * 15 + 4 * 1)
        assert found.draft_seconds[0, 0] * 1000 == pytest.approx(4)


def test_plain_decoding_is_priced_in_the_middle_of_its_output():
    """199 tokens at a context of 100 + 200 / 2 tokens, where a pass takes 15 ms."""
    by_context = {"contexts": {"100": {"1": 10}, "300": {"1": 20}}}
    made = costs(target=by_context)
    workload = Workload(prompt_tokens=np.array([100]), committed=np.array([200]))
    prompt = made.prompt(workload.prompt_tokens, None)[0]
    [seconds] = workload.plain_seconds(made).tolist()
    assert seconds * 1000 == pytest.approx(prompt + 199 * (15 + made.plain_ms))


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
        ({"prompts": {"target": [3, -1]}}, "one of them is negative"),
        ({"unit": "seconds"}, "given in milliseconds"),
        ({"versions": "x"}, "'versions' is a mapping"),
        ({"target": {"1": 10, "01": 3}}, "given twice"),
        ({"target": {"1": True}}, "True is not a number of milliseconds"),
        ({"target": {"contexts": {"-5": {"1": 2}}}}, "'-5' is not a number of tokens"),
        ({"target": {"noise": "big", "1": 3}}, "give milliseconds by tokens scored"),
        (
            {"target": {"1": 10, "4": 5}},
            "10 ms for a width of 1 and 5 ms for 4: .* never takes less",
        ),
        ({"target": {"contexts": {"1": {"1": 3}, "9": {"1": 2}}}}, "a longer context never takes"),
        ({"step": -0.1}, "'node', 'plain' are milliseconds.*one of them is negative"),
        ({"node": math.nan}, "or not a number"),
        ({"level": math.inf}, "or not a number"),
        ({"target": {"contexts": {"1": {"1": 3}}, "4": 5}}, "beside 'contexts' there is '4'"),
        ({"prompts": {"smal": [1, 2]}}, "'smal' is neither the target nor one of the drafts"),
        ({"device": 3}, "'device' is 3, and should be a name"),
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
