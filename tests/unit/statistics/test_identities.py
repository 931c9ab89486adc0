"""Metric identities: none broken by a sound case, and each by the one corruption that breaks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from study_traces import study_run

from harness.statistics import check_identities
from harness.trace import NODE_COLUMNS, CaseRecord, DecodedOutput, Verdict, empty_columns


@pytest.fixture(scope="module")
def sound():
    return study_run(prompts=1, steps=6, seed=4)[0]


def edit(record, table, column, row, value):
    """The record with one cell changed; `value` may be a function of the cell."""
    columns = {name: values.copy() for name, values in getattr(record, table).items()}
    cell = columns[column][row]
    columns[column][row] = value(cell) if callable(value) else value
    return replace(record, **{table: columns})


def first(record, wanted):
    return int(np.flatnonzero(wanted(record.nodes))[0])


def test_a_sound_case_breaks_none():
    for record in study_run(prompts=2, steps=8, between=0.2):
        assert check_identities(record) == []


def test_a_truncated_last_step_is_sound(sound):
    longest = int(np.flatnonzero(sound.steps["accepted_length"] > 0)[-1])
    cut = longest + 1
    steps = {name: column[:cut].copy() for name, column in sound.steps.items()}
    steps["committed_tokens"][-1] = 1
    kept = sound.nodes["step"] < cut
    nodes = {name: column[kept] for name, column in sound.nodes.items()}
    output = replace(
        sound.speculative,
        token_ids=sound.speculative.token_ids[: 1 + int(steps["committed_tokens"].sum())],
    )
    record = replace(sound, steps=steps, nodes=nodes, plain=output, speculative=output)
    assert check_identities(record) == []


def test_a_case_with_more_steps_than_nodes_is_sound(sound):
    """As prompt lookup makes them: most steps find nothing to propose."""
    count = len(sound.steps["step"])
    last = (np.arange(count) == count - 1).astype(int)
    roots = sound.prompt_tokens + np.arange(count)
    steps = {
        **sound.steps,
        "nodes": last,
        "depth": last,
        "accepted_length": 0 * last,
        "committed_tokens": 0 * last + 1,
        "root_position": roots,
    }
    nodes = {name: column[:1].copy() for name, column in sound.nodes.items()}
    nodes["step"][:], nodes["position"][:] = count - 1, roots[-1] + 1
    nodes["accepted"][:], nodes["reached"][:] = False, True
    output = replace(sound.speculative, token_ids=sound.speculative.token_ids[: count + 1])
    record = replace(sound, steps=steps, nodes=nodes, plain=output, speculative=output)
    assert check_identities(record) == []


STEP_FAULTS = [
    ("step", 2, 3, "numbered"),
    ("accepted_length", 2, 15, "more tokens accepted than drafted"),
    ("accepted_length", 2, 4, "accepted length is more than the depth"),
    ("accepted_length", 2, -1, "negative"),
    ("depth", 2, 2, "deepest node"),
    ("depth", 2, 15, "depth is more than nodes"),
    ("nodes", 2, 13, "another number of nodes"),
    ("nodes", 2, 0, "nodes and depth, or none"),
    ("committed_tokens", 2, 0, "no token committed"),
    ("committed_tokens", 2, lambda c: c + 1, "more tokens committed"),
    ("root_position", 0, lambda c: c + 1, "first root"),
    ("root_position", 3, lambda c: c + 1, "as far from the one before"),
    ("draft_seconds", 1, -1.0, "draft_seconds is negative"),
    ("verify_seconds", 1, np.nan, "verify_seconds is negative or no number"),
]


@pytest.mark.parametrize(("column", "row", "value", "rule"), STEP_FAULTS)
def test_a_corrupt_step_is_named(sound, column, row, value, rule):
    broken = check_identities(edit(sound, "steps", column, row, value))
    assert any(rule in line and line.startswith("step ") for line in broken), broken


def test_truncation_before_the_last_step_is_named(sound):
    row = int(np.flatnonzero(sound.steps["accepted_length"][:-1] > 0)[0])
    broken = check_identities(edit(sound, "steps", "committed_tokens", row, 1))
    assert any("not the last step" in line for line in broken)


def kept(nodes):
    return nodes["accepted"]


def passed_over(nodes):
    return nodes["reached"] & ~nodes["accepted"]


def not_looked_at(nodes):
    return ~nodes["reached"] & (nodes["depth"] == 3)


NODE_FAULTS = [
    ("step", kept, 99, "its step is not one of the case's"),
    ("step", kept, lambda c: c + 2, "order of steps"),
    ("node", kept, lambda c: c + 1, "not numbered"),
    ("parent", kept, -2, "its parent is neither"),
    ("parent", kept, 13, "its parent is neither"),
    ("parent", not_looked_at, 0, "its depth is not one more"),
    ("depth", kept, lambda c: c + 1, "its depth is not one more"),
    ("sibling_rank", kept, lambda c: c + 1, "sibling rank"),
    ("position", kept, lambda c: c + 1, "its position is not its root's + its depth"),
    ("token_id", kept, lambda c: c + 1, "the output has another token"),
    ("accepted", kept, False, "not as many as its accepted length"),
    ("accepted", passed_over, True, "not as many as its accepted length"),
    ("accepted", not_looked_at, True, "accepted, and not reached"),
    ("accepted", not_looked_at, True, "accepted, and its parent is not"),
    ("reached", kept, False, "accepted, and not reached"),
    ("reached", not_looked_at, True, "reached, and its parent is not kept"),
    ("reached", passed_over, False, "not reached, although its parent is kept"),
    ("acceptance_probability", kept, 1.5, "not in [0, 1]"),
    ("acceptance_probability", kept, lambda c: c / 2, "not min(1, p/q)"),
    ("acceptance_probability", kept, np.nan, "not min(1, p/q)"),
    ("target_probability", kept, -0.1, "target_probability is not in"),
    ("draft_probability", kept, 1.1, "draft_probability is not in"),
    ("overlap", kept, 1.1, "overlap is not in"),
    ("overlap", kept, 0.0, "overlap is less than"),
    ("target_entropy", kept, -0.1, "target_entropy is negative"),
    ("draft_entropy", kept, -0.1, "draft_entropy is negative"),
    ("target_rank", kept, -2, "target_rank is below"),
    ("draft_rank", kept, -2, "draft_rank is below"),
]


@pytest.mark.parametrize(("column", "which", "value", "rule"), NODE_FAULTS)
def test_a_corrupt_node_is_named(sound, column, which, value, rule):
    broken = check_identities(edit(sound, "nodes", column, first(sound, which), value))
    assert any(rule in line for line in broken), broken


def test_two_kept_siblings_are_no_path(sound):
    row = first(sound, lambda n: n["accepted"] & (n["sibling_rank"] == 0))
    record = edit(sound, "nodes", "accepted", row + 1, True)
    broken = check_identities(edit(record, "nodes", "reached", row + 1, True))
    assert any("and so is a sibling" in line for line in broken)
    assert any("an earlier sibling is kept" in line for line in broken)


def test_rules_from_the_leaves_reach_nodes_whose_parents_they_drop(sound):
    row = first(sound, lambda n: ~n["reached"] & (n["depth"] == 2))
    record = edit(sound, "nodes", "reached", row, True)
    parent = row - int(sound.nodes["node"][row]) + int(sound.nodes["parent"][row])
    reached = edit(record, "nodes", "reached", parent, True)
    assert check_identities(reached, top_down=False) == []
    assert check_identities(reached)
    orphan = first(sound, lambda n: ~n["reached"] & (n["depth"] == 3))
    row = orphan - int(sound.nodes["node"][orphan]) + int(sound.nodes["parent"][orphan])
    if not sound.nodes["reached"][row]:
        broken = check_identities(edit(sound, "nodes", "reached", orphan, True), top_down=False)
        assert any("its parent is not" in line for line in broken)


def output(record, **changes):
    return replace(record.speculative, **changes)


def test_outputs_and_verdicts(sound):
    short = output(sound, token_ids=sound.speculative.token_ids[:-1])
    assert any(
        "prefill's 1" in line
        for line in check_identities(replace(sound, plain=short, speculative=short))
    )
    other = output(sound, token_ids=(*sound.speculative.token_ids[:-1], 99_999))
    assert any("outputs are not" in line for line in check_identities(replace(sound, plain=other)))
    same = replace(sound, verdict=Verdict.ALGORITHMIC)
    assert any("outputs are equal" in line for line in check_identities(same))
    assert not check_identities(replace(sound, plain=other, verdict=Verdict.ALGORITHMIC))
    assert not check_identities(replace(sound, plain=other, verdict=Verdict.SAMPLED))
    assert any(
        "no speculative output" in line
        for line in check_identities(replace(sound, speculative=None))
    )
    late = replace(sound, plain=output(sound, seconds=-1.0))
    assert any("seconds of the plain output" in line for line in check_identities(late))
    assert any(
        "draws for accept" in line
        for line in check_identities(replace(sound, draws={"accept": -1}))
    )


def test_a_case_in_error_or_without_steps_or_nodes(sound):
    error = CaseRecord(case_id="a", domain="chat", prompt_tokens=0, verdict=Verdict.ERROR)
    assert check_identities(error) == []
    one = DecodedOutput(token_ids=(7,), stop_reason="stop_token", seconds=0.1)
    no_step = CaseRecord(
        case_id="a",
        domain="chat",
        prompt_tokens=3,
        verdict=Verdict.IDENTICAL,
        plain=one,
        speculative=one,
    )
    assert check_identities(no_step) == []
    # An engine that reports steps only.
    assert check_identities(replace(sound, nodes=empty_columns(NODE_COLUMNS))) == []


def test_a_line_says_how_many_more_there_are(sound):
    nodes = {**sound.nodes, "position": sound.nodes["position"] + 1}
    broken = check_identities(replace(sound, nodes=nodes))
    assert f"(and {len(nodes['step']) - 1} more)" in broken[0]
