"""The first difference of two runs: the case, the step, the node, and what changed."""

from dataclasses import replace

import numpy as np
import pytest
from study_traces import study_run

from draftproof.gate import Storage, compare, comparison_json
from draftproof.gate.exact import ROUNDING, Aspect
from draftproof.gate.measured import measured_run
from draftproof.report.metrics_json import strict_json


def value(cases, index, what, column, row):
    return getattr(cases[index], what)[column][row]


@pytest.mark.parametrize("kept", ["traces", "no traces"])
@pytest.mark.parametrize(
    ("what", "column", "row", "change", "aspect", "step"),
    [
        ("nodes", "token_id", 47, lambda v: v + 1, Aspect.TREE, 3),
        ("nodes", "parent", 47, lambda v: v - 1, Aspect.TREE, 3),
        ("nodes", "draft_probability", 20, lambda v: v + 0.01, Aspect.DRAFT, 1),
        ("nodes", "target_probability", 14, lambda v: v + 0.01, Aspect.TARGET, 1),
        ("nodes", "target_rank", 14, lambda v: v + 1, Aspect.TARGET, 1),
        ("nodes", "accepted", 60, lambda v: not v, Aspect.ACCEPTANCE, 4),
        ("nodes", "reached", 60, lambda v: not v, Aspect.ACCEPTANCE, 4),
        ("steps", "committed_tokens", 5, lambda v: v + 1, Aspect.COMMIT, 5),
        ("steps", "root_position", 5, lambda v: v + 1, Aspect.COMMIT, 5),
        ("steps", "accepted_length", 5, lambda v: v + 1, Aspect.COMMIT, 5),
    ],
)
def test_one_changed_value_is_found(
    cases, earlier, later, with_column, tmp_path, what, column, row, change, aspect, step, kept
):
    changed = with_column(9, what, column, row, change(value(cases, 9, what, column, row)))
    before = earlier
    if kept == "no traces":
        storage = Storage(tmp_path)
        storage.save("main", earlier, traces=False)
        before = storage.load("main")
    found = compare(before, later(changed))
    first = found.first
    assert (first.case_id, first.step, first.aspect) == (cases[9].case_id, step, aspect)
    assert list(found.changed.first) == [cases[9].case_id]
    assert not found.identical
    node = cases[9].nodes["node"][row] if what == "nodes" else None
    if kept == "traces":
        assert first.node == node
        assert first.detail
        assert first.before.nodes["node"] == list(range(14))
    else:
        assert first.before is None
        assert first.now is not None
        assert any("--spec-save-traces" in note for note in found.notes)
    strict_json(comparison_json(found))


def test_what_comes_first_in_a_step_is_named(earlier, later, with_column, cases):
    """A tree that changed changes what follows from it, and is what is named."""
    changed = with_column(0, "nodes", "token_id", 30, 5)
    changed = with_column(0, "nodes", "accepted", 29, True, among=changed)
    changed = with_column(0, "nodes", "target_rank", 28, 77, among=changed)
    assert compare(earlier, later(changed)).first.aspect is Aspect.TREE


def test_the_first_case_is_the_first_by_its_id(earlier, later, with_column):
    changed = with_column(11, "nodes", "token_id", 0, 5)
    changed = with_column(4, "nodes", "token_id", 100, 5, among=changed)
    found = compare(earlier, later(changed[::-1]))
    assert found.first.case_id == changed[4].case_id < changed[11].case_id
    assert list(found.changed.first) == [changed[4].case_id, changed[11].case_id]


def test_rounding_is_no_difference(cases, earlier, later, with_column):
    p = value(cases, 2, "nodes", "target_probability", 3)
    near = with_column(2, "nodes", "target_probability", 3, p + ROUNDING / 3)
    assert compare(earlier, later(near)).identical


def test_a_run_is_identical_to_itself_and_to_its_baseline(earlier, later, tmp_path):
    Storage(tmp_path).save("main", earlier, traces=False)
    for before in (earlier, Storage(tmp_path).load("main")):
        found = compare(before, later())
        assert found.identical
        assert found.first is None
        assert found.clues == ()


def test_a_step_more_is_a_difference(cases, earlier, later):
    shorter = list(cases)
    last = cases[3].steps["step"][-1]
    shorter[3] = replace(
        cases[3],
        steps={name: column[:-1] for name, column in cases[3].steps.items()},
        nodes={
            name: column[cases[3].nodes["step"] < last] for name, column in cases[3].nodes.items()
        },
    )
    found = compare(earlier, later(shorter))
    assert (found.first.case_id, found.first.step) == (cases[3].case_id, 7)
    assert found.first.aspect is Aspect.LENGTH
    assert found.first.now is None
    assert found.first.before is not None


def test_runs_that_need_not_be_the_same_are_not_compared_step_by_step(cases, earlier, run, later):
    other = replace(run, config={**run.config, "tree": "2x2"})
    found = compare(earlier, later(run=other), anyway=True)
    assert found.changed is None
    assert not found.identical
    assert comparison_json(found)["identical"] is None


def _draft_differs(cases, where):
    """The draft model says something else in the steps after those that `where` picks."""
    changed = []
    for number, case in enumerate(cases):
        steps = np.flatnonzero(where(number, case)[:-1]) + 1
        q = case.nodes["draft_probability"].copy()
        q[np.isin(case.nodes["step"], steps)] *= 0.9
        changed.append(replace(case, nodes={**case.nodes, "draft_probability": q}))
    return changed


def fully_kept(number, case):
    return case.steps["accepted_length"] == case.steps["depth"]


def cut_short(number, case):
    return ~fully_kept(number, case)


def every_other(number, case):
    return np.arange(len(case.steps["step"])) % 2 == number % 2


@pytest.mark.parametrize(
    ("where", "said", "leads"),
    [
        (fully_kept, "a draft that was kept to its full depth", "after a fully kept path"),
        (cut_short, "a draft that was not kept to its full depth", "after a rejection"),
        (every_other, None, None),
    ],
)
def test_what_precedes_the_first_differences_is_told(cases, earlier, later, where, said, leads):
    told = compare(earlier, later(_draft_differs(cases, where))).clues
    assert any("look at its cache" in clue for clue in told)
    after = [clue for clue in told if "differ first in the step after" in clue]
    if said is None:
        assert after == []
    else:
        (clue,) = after
        assert f"step after {said}, as " in clue
        assert leads in clue


def test_a_change_after_paths_beside_the_first_siblings_is_told(run):
    """Some steps keep the second child of the root; the draft model differs after those alone."""
    cases = study_run(prompts=12, steps=16, between=0.1, seed=3)
    before = []
    for number, case in enumerate(cases):
        nodes = {name: column.copy() for name, column in case.nodes.items()}
        chosen = np.random.default_rng([7, number]).random(len(case.steps["step"])) < 0.2
        kept_one = chosen & (case.steps["accepted_length"] == 1)
        rows = np.isin(nodes["step"], case.steps["step"][kept_one]) & (nodes["depth"] == 1)
        nodes["accepted"][rows] = nodes["sibling_rank"][rows] == 1
        before.append(replace(case, nodes=nodes))

    def beside(number, case):
        aside = case.nodes["accepted"] & (case.nodes["sibling_rank"] > 0)
        return np.isin(case.steps["step"], case.nodes["step"][aside])

    now = measured_run("now", run, _draft_differs(before, beside))
    (clue,) = (
        clue
        for clue in compare(measured_run("before", run, before), now).clues
        if "differ first in the step after" in clue
    )
    share = np.mean(np.concatenate([beside(0, case)[:-1] for case in before]))
    assert (
        "a kept path with a node that was not the first of its siblings, "
        f"as {share:.0%} of all steps are" in clue
    )
    assert "cache entries" in clue


def test_a_change_from_case_to_case_is_told(cases, earlier, later, with_column):
    changed = cases
    for index in range(1, len(cases)):
        changed = with_column(index, "nodes", "token_id", 2, 5, among=changed)
    told = compare(earlier, later(changed)).clues
    assert any(f"{cases[0].case_id} alone is the same" in clue for clue in told)
    changed = with_column(0, "nodes", "token_id", 2, 5, among=changed)
    told = compare(earlier, later(changed)).clues
    assert not any("alone is the same" in clue for clue in told)
    assert any("when a case starts" in clue for clue in told)
    told = compare(earlier, later(with_column(0, "nodes", "token_id", 2, 5))).clues
    assert not any("first step on" in clue for clue in told)


def test_step_facts_do_not_depend_on_what_a_run_left_out(cases, run):
    """A case alone has the same facts as among others."""
    alone = measured_run("alone", run, cases[5:6])
    among = measured_run("among", run, cases)
    case_id = cases[5].case_id
    assert np.array_equal(alone.steps[case_id].rows, among.steps[case_id].rows)
