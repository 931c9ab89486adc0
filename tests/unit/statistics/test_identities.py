"""Metric identities: none broken by a sound case, and each by the one corruption that breaks it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from study_traces import study_run

from draftproof.engines.draft_limits import draft_limits
from draftproof.statistics import check_identities
from draftproof.trace import NODE_COLUMNS, CaseRecord, DecodedOutput, Verdict, empty_columns


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


def test_probabilities_at_their_ends_are_sound(sound):
    """Of 0, and of a quotient that float32 cannot hold, min(1, p/q) says nothing or 0."""
    row = first(sound, kept)
    for p, q, alpha in ((0, 0.5, 0), (0, 0, 0), (0.5, 0, 1), (1e-32, 1e-31, 0.7), (1, 1, 1)):
        record = sound
        values = {"target": p, "draft": q, "acceptance": alpha}
        for name, value in values.items():
            record = edit(record, "nodes", f"{name}_probability", row, value)
        record = edit(record, "nodes", "overlap", row, min(p, q))
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


@pytest.mark.parametrize("found_at", [[0, 1], [5]])
def test_a_case_with_more_steps_than_nodes_is_sound(sound, found_at):
    """As prompt lookup makes them: most steps find nothing to propose."""
    count = len(sound.steps["step"])
    drafted = np.zeros(count, int)
    drafted[found_at] = 1
    roots = sound.prompt_tokens + np.arange(count)
    steps = {
        **sound.steps,
        "nodes": drafted,
        "depth": drafted,
        "accepted_length": 0 * drafted,
        "committed_tokens": 0 * drafted + 1,
        "root_position": roots,
    }
    nodes = {name: np.repeat(column[:1], len(found_at)) for name, column in sound.nodes.items()}
    nodes["step"][:], nodes["position"][:] = found_at, roots[found_at] + 1
    nodes["accepted"][:], nodes["reached"][:] = False, True
    output = replace(sound.speculative, token_ids=sound.speculative.token_ids[: count + 1])
    record = replace(sound, steps=steps, nodes=nodes, plain=output, speculative=output)
    assert check_identities(record) == []


def says(broken, what, rule):
    """Whether a line names a step or node and breaks exactly this rule."""
    wanted = re.compile(rf"{what} \d+: {re.escape(rule)}( \(and \d+ more\))?")
    return any(wanted.fullmatch(line) for line in broken)


NOT_AS_FAR = "its root is not as far from the one before as tokens were committed"

STEP_FAULTS = [
    ("step", 2, 3, "steps are not numbered 0, 1, 2, …"),
    ("accepted_length", 2, 15, "more tokens accepted than drafted"),
    ("accepted_length", 2, 4, "accepted length is more than the depth"),
    ("accepted_length", 2, -1, "accepted_length is negative or no number"),
    ("depth", 2, 2, "its deepest node is not at its depth"),
    ("depth", 2, 15, "depth is more than nodes"),
    ("nodes", 2, 13, "it drafted another number of nodes"),
    ("nodes", 2, 0, "a draft has nodes and depth, or none"),
    ("committed_tokens", 2, 0, "no token committed"),
    ("committed_tokens", 2, lambda c: c + 1, "more tokens committed than accepted length + 1"),
    ("root_position", 0, lambda c: c + 1, "the first root is not the token after the prompt"),
    (
        "root_position",
        3,
        lambda c: c + 1,
        "its root is not as far from the one before as tokens were committed",
    ),
    ("draft_seconds", 1, -1.0, "draft_seconds is negative or no number"),
    ("verify_seconds", 1, np.nan, "verify_seconds is negative or no number"),
]


@pytest.mark.parametrize(("column", "row", "value", "rule"), STEP_FAULTS)
def test_a_corrupt_step_is_named(sound, column, row, value, rule):
    broken = check_identities(edit(sound, "steps", column, row, value))
    assert says(broken, "step", rule), broken


def test_truncation_before_the_last_step_is_named(sound):
    row = int(np.flatnonzero(sound.steps["accepted_length"][:-1] > 0)[0])
    accepted = sound.steps["accepted_length"][row]
    broken = check_identities(edit(sound, "steps", "committed_tokens", row, accepted))
    assert any("truncated, and it is not the last step" in line for line in broken)


def test_an_engine_without_a_bonus_token_says_so_and_breaks_nothing(sound):
    """A draft that was kept whole makes no token more; one that was not still does."""
    whole = sound.steps["accepted_length"] == sound.steps["depth"]
    rows = np.flatnonzero(whole[:-1] & (sound.steps["accepted_length"][:-1] > 0))
    assert len(rows)
    record = edit(sound, "steps", "committed_tokens", rows, lambda committed: committed - 1)
    hint = "says so: bonus_token False"
    assert any("truncated" in line and hint in line for line in check_identities(record))
    assert not any("truncated" in line for line in check_identities(record, bonus=False))
    less = int(sound.steps["depth"][rows[0]]) - 1
    record = edit(sound, "steps", "accepted_length", rows[0], less)
    record = edit(record, "steps", "committed_tokens", rows[0], less)
    assert any("truncated" in line for line in check_identities(record, bonus=False))
    assert draft_limits({"draft_length": 4, "bonus_token": False}).bonus is False


def kept(nodes):
    return nodes["accepted"]


def first_of_a_step(nodes):
    return nodes["node"] == 0


def passed_over(nodes):
    return nodes["reached"] & ~nodes["accepted"]


def not_looked_at(nodes):
    return ~nodes["reached"] & (nodes["depth"] == 3)


NO_QUOTIENT = "its acceptance probability is not min(1, p/q)"
NOT_REACHED = "not reached, although its parent is kept and no earlier sibling is"

NODE_FAULTS = [
    ("step", kept, 6, "its step is not one of the case's"),
    ("step", kept, -1, "its step is not one of the case's"),
    ("step", kept, lambda c: c + 2, "nodes are not in the order of steps"),
    ("node", kept, lambda c: c + 1, "nodes of a step are not numbered 0, 1, 2, …"),
    ("parent", kept, -2, "its parent is neither the root (−1) nor an earlier node"),
    ("parent", first_of_a_step, 0, "its parent is neither the root (−1) nor an earlier node"),
    ("parent", kept, 13, "its parent is neither the root (−1) nor an earlier node"),
    ("parent", not_looked_at, 0, "its depth is not one more than its parent's"),
    ("depth", kept, lambda c: c + 1, "its depth is not one more than its parent's"),
    ("sibling_rank", kept, lambda c: c + 1, "its sibling rank is not its place among siblings"),
    ("position", kept, lambda c: c + 1, "its position is not its root's + its depth"),
    ("token_id", kept, lambda c: c + 1, "it was accepted, and the output has another token there"),
    ("accepted", not_looked_at, True, "accepted, and not reached"),
    ("accepted", not_looked_at, True, "accepted, and its parent is not"),
    ("reached", kept, False, "accepted, and not reached"),
    ("reached", not_looked_at, True, "reached, and its parent is not kept"),
    ("reached", passed_over, False, NOT_REACHED),
    ("reached", kept, False, NOT_REACHED),
    ("acceptance_probability", kept, 1.5, "acceptance_probability is not in [0, 1]"),
    (
        "acceptance_probability",
        kept,
        lambda c: c / 2,
        "its acceptance probability is not min(1, p/q)",
    ),
    ("acceptance_probability", kept, np.nan, NO_QUOTIENT),
    ("target_probability", kept, -0.1, "target_probability is not in [0, 1]"),
    ("draft_probability", kept, 1.1, "draft_probability is not in [0, 1]"),
    ("overlap", kept, 1.1, "overlap is not in [0, 1]"),
    ("overlap", kept, 0.0, "overlap is less than its own min(p, q)"),
    ("target_entropy", kept, -0.1, "target_entropy is negative"),
    ("draft_entropy", kept, -0.1, "draft_entropy is negative"),
    ("target_rank", kept, -2, "target_rank is below −1"),
    ("draft_rank", kept, -2, "draft_rank is below −1"),
]


@pytest.mark.parametrize(("column", "which", "value", "rule"), NODE_FAULTS)
def test_a_corrupt_node_is_named(sound, column, which, value, rule):
    broken = check_identities(edit(sound, "nodes", column, first(sound, which), value))
    assert says(broken, "node", rule), broken


@pytest.mark.parametrize("column", ["target_entropy", "draft_entropy"])
@pytest.mark.parametrize("value", [0.0, -1e-6])
def test_certainty_has_no_entropy_but_for_rounding(sound, column, value):
    assert check_identities(edit(sound, "nodes", column, first(sound, kept), value)) == []


@pytest.mark.parametrize(("which", "value"), [(kept, False), (passed_over, True)])
def test_a_step_that_kept_another_number_of_nodes_is_named(sound, which, value):
    broken = check_identities(edit(sound, "nodes", "accepted", first(sound, which), value))
    assert says(broken, "step", "its accepted nodes are not as many as its accepted length")


def test_two_kept_siblings_are_no_path(sound):
    row = first(sound, lambda n: n["accepted"] & (n["sibling_rank"] == 0))
    record = edit(sound, "nodes", "accepted", row + 1, True)
    broken = check_identities(edit(record, "nodes", "reached", row + 1, True))
    assert says(broken, "node", "accepted, and so is a sibling")
    assert says(broken, "node", "reached, and an earlier sibling is kept")


def test_rules_from_the_leaves_reach_nodes_whose_parents_they_drop(sound):
    row = first(sound, lambda n: ~n["reached"] & (n["depth"] == 2))
    record = edit(sound, "nodes", "reached", row, True)
    parent = row - int(sound.nodes["node"][row]) + int(sound.nodes["parent"][row])
    reached = edit(record, "nodes", "reached", parent, True)
    assert check_identities(reached, top_down=False) == []
    assert check_identities(reached)
    orphan = first(sound, lambda n: ~n["reached"] & (n["depth"] == 3) & above(n, ~n["reached"]))
    broken = check_identities(edit(sound, "nodes", "reached", orphan, True), top_down=False)
    assert says(broken, "node", "reached, and its parent is not")


def above(nodes, wanted):
    """Of each node below depth 1, whether its parent is one of those wanted."""
    rows = np.arange(len(wanted)) - nodes["node"] + nodes["parent"]
    return (nodes["parent"] >= 0) & wanted[np.maximum(rows, 0)]


def output(record, **changes):
    return replace(record.speculative, **changes)


def test_outputs_and_verdicts(sound):
    length = len(sound.speculative.token_ids)
    short = output(sound, token_ids=sound.speculative.token_ids[:-1])
    assert check_identities(replace(sound, plain=short, speculative=short))[0] == (
        f"case: the output has {length - 1} tokens, and prefill's 1 + the steps' {length - 1} are "
        f"{length}"
    )
    other = output(sound, token_ids=(*sound.speculative.token_ids[:-1], 99_999))
    late = output(sound, seconds=-1.0)
    for changes, line in (
        ({"plain": other}, "the verdict is identical, and the outputs are not"),
        ({"verdict": Verdict.ALGORITHMIC}, "the verdict is algorithmic, and the outputs are equal"),
        ({"verdict": Verdict.NUMERICAL}, "the verdict is numerical, and the outputs are equal"),
        ({"speculative": None}, "it is not in error, and has no speculative output"),
        ({"plain": late}, "seconds of the plain output are negative or no number"),
        ({"speculative": late}, "seconds of the speculative output are negative or no number"),
        ({"draws": {"accept": -1}}, "a negative number of draws for accept"),
    ):
        assert f"case: {line}" in check_identities(replace(sound, **changes))
    sound = with_seconds(sound, 0.0, 0.0, 0.0)
    instant = output(sound, seconds=0.0)
    for changes in (
        {"plain": other, "verdict": Verdict.ALGORITHMIC},
        {"plain": other, "verdict": Verdict.SAMPLED},
        {"plain": instant, "speculative": instant, "draws": {"accept": 0}},
    ):
        assert check_identities(replace(sound, **changes)) == []


def with_seconds(record, whole, *phases):
    """The record with an output of so many seconds, and each phase's over all steps."""
    count = len(record.steps["step"])
    draft, verify = (np.full(count, phase / count) for phase in phases)
    steps = {**record.steps, "draft_seconds": draft, "verify_seconds": verify}
    return replace(record, steps=steps, speculative=output(record, seconds=whole))


@pytest.mark.parametrize(("whole", "draft", "verify"), [(0.0, 0.0, 0.0009), (8.0, 3.0, 5.08)])
def test_clocks_may_differ_by_a_little(sound, whole, draft, verify):
    assert check_identities(with_seconds(sound, whole, draft, verify)) == []


@pytest.mark.parametrize(
    ("whole", "draft", "verify", "line"),
    [
        (0.0, 0.0011, 0.0, "took 0.0011 seconds, and the whole output 0"),
        (8.0, 5.0, 3.09, "took 8.09 seconds, and the whole output 8"),
        (1.5, 600.0, 700.0, "took 1300 seconds, and the whole output 1.5"),
    ],
)
def test_steps_do_not_take_longer_than_the_output(sound, whole, draft, verify, line):
    broken = check_identities(with_seconds(sound, whole, draft, verify))
    assert broken == [f"case: its steps {line}"]


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


def test_a_line_names_the_first_row_and_says_how_many_more_there_are(sound):
    rule = "its position is not its root's + its depth"
    for rows, more in (
        (slice(3, 4), ""),
        (slice(3, 5), " (and 1 more)"),
        (slice(3, 9), " (and 5 more)"),
    ):
        nodes = {**sound.nodes, "position": sound.nodes["position"].copy()}
        nodes["position"][rows] += 1
        assert check_identities(replace(sound, nodes=nodes))[0] == f"node 3: {rule}{more}"


def test_the_node_that_comes_before_the_step_of_another_is_named(sound):
    broken = check_identities(edit(sound, "nodes", "step", 4, 2))
    assert broken[0] == "node 5: nodes are not in the order of steps"
    late = {name: column[1:] for name, column in sound.nodes.items()}
    late["step"] = np.append(-1, late["step"][1:])
    assert "node 0: nodes are not in the order of steps" in check_identities(
        replace(sound, nodes=late)
    )


def test_siblings_out_of_order_are_no_fault_where_any_order_is_exact(sound):
    """The second sibling is tried before the first, and kept: or after it, though it was kept."""
    row = first(sound, lambda n: n["accepted"] & (n["sibling_rank"] == 0))
    after = edit(sound, "nodes", "reached", row + 1, True)
    assert says(check_identities(after), "node", "reached, and an earlier sibling is kept")
    assert check_identities(after, in_order=False) == []
    missed = first(sound, passed_over)
    parent_kept = edit(sound, "nodes", "reached", missed, False)
    assert check_identities(parent_kept)
