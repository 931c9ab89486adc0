"""The figures of a run: worked by hand on tiny traces, and against an oracle of plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.errors import TraceError
from draftproof.report.reading import load_run
from draftproof.statistics import DEPTH_METRICS, METRICS, Resampling, prompt_sums, summarise, sums
from draftproof.statistics.batches import batches
from draftproof.statistics.identities import check_figures
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    Counts,
    DecodedOutput,
    Verdict,
    columns_from,
)

NAN = float("nan")
FEW = Resampling(resamples=20)
NODE_FIELDS = ("parent", "acceptance_probability", "target_rank", "reached", "accepted")


def case(case_id, steps, domain="code", verdict=Verdict.IDENTICAL):
    """A record from steps, each (accepted length, committed tokens, nodes as in `NODE_FIELDS`)."""
    step_rows, node_rows = [], []
    for index, (accepted, committed, nodes) in enumerate(steps):
        depths, children = [], {}
        for node, values in enumerate(nodes):
            parent = values[0]
            depths.append(1 if parent < 0 else depths[parent] + 1)
            rank = children.setdefault(parent, 0)
            children[parent] += 1
            row = dict.fromkeys(NODE_COLUMNS, 0)
            row.update(step=index, node=node, depth=depths[node], sibling_rank=rank)
            row.update(zip(NODE_FIELDS, values, strict=True))
            node_rows.append(row)
        step_rows.append((index, len(nodes), max(depths, default=0), accepted, committed, 0, 0, 0))
    step_columns = [list(column) for column in zip(*step_rows, strict=True)] or [[]] * 8
    return CaseRecord(
        case_id=case_id,
        domain=domain,
        prompt_tokens=3,
        verdict=verdict,
        steps=columns_from(STEP_COLUMNS, dict(zip(STEP_COLUMNS, step_columns, strict=True))),
        nodes=columns_from(
            NODE_COLUMNS, {name: [row[name] for row in node_rows] for name in NODE_COLUMNS}
        ),
    )


def values(group):
    return {name: estimate.value for name, estimate in group.metrics.items()}


def counts(group):
    return {name: estimate.n for name, estimate in group.metrics.items()}


def chain(probability, rank, accepted, committed):
    """A step over a chain of two nodes."""
    nodes = [
        (-1, probability, rank, True, accepted >= 1),
        (0, probability, rank, accepted >= 1, accepted >= 2),
    ]
    return accepted, committed, nodes


def test_every_sum_of_a_prompt_worked_by_hand():
    """Two children of the root, each with one; a chain of two, the second unknown; no draft."""
    tree = [
        (-1, 0.5, 3, True, False),
        (-1, 0.25, 0, True, True),
        (0, 0.5, 0, False, False),
        (1, 1.0, 2, True, False),
    ]
    unknown = [(-1, 0.75, 0, True, True), (0, NAN, -1, True, True)]
    record = case("a", [(1, 2, tree), (2, 1, unknown), (0, 1, [])])
    entropy = np.array([1.0, 2.0, NAN, 0.5, 3.0, 0.0], np.float32)
    found = prompt_sums([replace(record, nodes={**record.nodes, "draft_entropy": entropy})])
    quarter = 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    expected = {
        "steps": 3,
        "drafted": 6,
        "accepted": 3,
        "accepted_of_drafted": 3,
        "committed_tokens": 4,
        "path_steps": 2,
        "path_length": 0.5 + 0.5 * 0.5,
        "reached": 5,
        "accepted_nodes": 3,
        "known_nodes": 5,
        "acceptance_probability": 3.0,
        "ranked_nodes": 5,
        "greedy_matches": 3,
        "accepted_squares": 1 + 4,
        "committed_squares": 4 + 1 + 1,
        "path_squares": 0.75**2,
        "acceptance_probability_squares": 0.25 + 0.0625 + 0.25 + 1 + 0.5625,
        "acceptance_log_likelihood": 2 * math.log(0.5) + 2 * quarter,
        "entropy_nodes": 5,
        "draft_entropy": 6.5,
        "draft_entropy_squares": 1 + 4 + 0.25 + 9,
    }
    assert {name: column.tolist() for name, column in found.totals.items()} == {
        name: [pytest.approx(value, rel=1e-12)] for name, value in expected.items()
    }
    assert {name: column.tolist() for name, column in found.by_depth.items()} == {
        "nodes": [[3, 3]],
        "known_nodes": [[3, 2]],
        "acceptance_probability": [[1.5, 1.5]],
        "acceptance_probability_squares": [[0.25 + 0.0625 + 0.5625, 0.25 + 1]],
        "ranked_nodes": [[3, 2]],
        "greedy_matches": [[2, 1]],
        "steps_at_least": [[2, 1]],
        "steps_at_least_previous": [[3, 2]],
    }


def test_sums_of_counters_alone_are_those_counters_and_leave_squares_unknown():
    told = replace(
        case("b", []),
        counts=Counts(steps=4, drafted=12, accepted=5),
        speculative=DecodedOutput(token_ids=(1,) * 10, stop_reason="length", seconds=1.0),
    )
    untold = replace(told, case_id="c", counts=None)
    totals = prompt_sums([case("a", [chain(1.0, 0, 2, 3)]), untold, told]).totals
    assert totals["steps"].tolist() == [1, 4, 0]
    assert totals["drafted"].tolist() == [2, 12, 0]
    assert totals["accepted"].tolist() == [2, 5, 0]
    assert totals["committed_tokens"].tolist() == [3, 9, 0]
    for name in ("accepted_squares", "committed_squares"):
        assert np.isnan(totals[name]).tolist() == [False, True, False]


def test_cases_without_a_draft_have_no_depth():
    assert prompt_sums([case("a", [(0, 1, [])])]).depths == 0


def test_nothing_is_accepted_at_acceptance_0():
    overall = summarise([case("a", [chain(0.0, 5, 0, 1)] * 3)], FEW).overall
    assert values(overall) == {
        "acceptance_probability": 0.0,
        "greedy_match": 0.0,
        "acceptance_rate_drafted": 0.0,
        "acceptance_rate_reached": 0.0,
        "study_expected_length": 0.0,
        "first_child_expected_length": 0.0,
        "accepted_length": 0.0,
        "block_efficiency": 1.0,
    }
    assert [depth.metrics["reach_rate"].value for depth in overall.depth_profile] == [0.0, 0.0]
    second = overall.depth_profile[1].metrics["conditional_acceptance"]
    assert math.isnan(second.value)
    assert second.n == 0
    assert second.reason == "no step accepted that many tokens less one"


def test_everything_is_accepted_at_acceptance_1():
    cases = [case("a", [chain(1.0, 0, 2, 3)] * 2), case("b", [chain(1.0, 0, 2, 3)])]
    overall = summarise(cases, FEW).overall
    assert values(overall) == {
        "acceptance_probability": 1.0,
        "greedy_match": 1.0,
        "acceptance_rate_drafted": 1.0,
        "acceptance_rate_reached": 1.0,
        "study_expected_length": 2.0,
        "first_child_expected_length": 2.0,
        "accepted_length": 2.0,
        "block_efficiency": 3.0,
    }
    for estimate in overall.metrics.values():
        assert math.isnan(estimate.low), "two prompts that are alike leave everything open"
        assert "needs 3 prompts" in estimate.reason
    for depth in overall.depth_profile:
        assert {estimate.value for estimate in depth.metrics.values()} == {1.0}


def test_partial_acceptance_worked_by_hand():
    # Two children of the root; the second was kept, then its first child was not.
    tree = [
        (-1, 0.5, 3, True, False),
        (-1, 0.25, 0, True, True),
        (0, 0.5, 0, False, False),
        (1, 1.0, 2, True, False),
    ]
    # The chain stops after one node; the empty step only commits.
    steps = [(1, 2, tree), (1, 1, [(-1, 0.75, 0, True, True)]), (0, 1, [])]
    overall = summarise([case("a", steps)], FEW).overall
    assert values(overall) == pytest.approx(
        {
            "acceptance_probability": (0.5 + 0.25 + 0.5 + 1.0 + 0.75) / 5,
            "greedy_match": 3 / 5,
            "acceptance_rate_drafted": 2 / 5,
            "acceptance_rate_reached": 2 / 4,
            # depth 1: (.5 + .75 + 0) / 3; depth 2: (.25 + 0 + 0) / 3
            "first_child_expected_length": 1.25 / 3 + 0.25 / 3,
            # another figure: the mean acceptance probability .6, to depth 2
            "study_expected_length": 0.6 + 0.36,
            "accepted_length": 2 / 3,
            "block_efficiency": 4 / 3,
        }
    )
    assert counts(overall) == {
        "acceptance_probability": 5,
        "greedy_match": 5,
        "acceptance_rate_drafted": 5,
        "acceptance_rate_reached": 4,
        "first_child_expected_length": 3,
        "study_expected_length": 5,
        "accepted_length": 3,
        "block_efficiency": 3,
    }
    first, second = overall.depth_profile
    assert (first.depth, first.nodes, second.depth, second.nodes) == (1, 3, 2, 2)
    assert {name: estimate.value for name, estimate in first.metrics.items()} == pytest.approx(
        {
            "acceptance_probability": 0.5,
            "greedy_match": 2 / 3,
            "reach_rate": 2 / 3,
            "conditional_acceptance": 2 / 3,
        }
    )
    assert {name: estimate.value for name, estimate in second.metrics.items()} == pytest.approx(
        {
            "acceptance_probability": 0.75,
            "greedy_match": 0.5,
            "reach_rate": 0.0,
            "conditional_acceptance": 0.0,
        }
    )


def test_a_drafter_without_a_model_leaves_its_figures_unknown_never_0():
    nodes = [(-1, NAN, 0, True, True), (0, NAN, 4, True, False)]
    known = [(-1, 0.5, 0, True, True), (0, NAN, 0, True, True)]
    none = summarise([case("a", [(1, 2, nodes)])], FEW).overall.metrics
    assert math.isnan(none["acceptance_probability"].value)
    assert "no model" in none["acceptance_probability"].reason
    assert math.isnan(none["first_child_expected_length"].value)
    assert none["greedy_match"].value == 0.5
    some = summarise([case("a", [(1, 2, nodes), (2, 3, known)])], FEW).overall.metrics
    assert (some["acceptance_probability"].value, some["acceptance_probability"].n) == (0.5, 1)
    assert math.isnan(some["first_child_expected_length"].value), (
        "its path is known to depth 1 only"
    )


def test_steps_whose_nodes_were_not_stored_count_in_the_figures_of_steps_only():
    stored = case("a", [chain(0.5, 0, 2, 3)])
    bare = replace(case("b", [chain(0.5, 0, 1, 2)]), nodes=case("c", []).nodes)
    metrics = summarise([stored, bare], FEW).overall.metrics
    assert metrics["accepted_length"].value == 1.5
    assert metrics["acceptance_rate_drafted"].value == 3 / 4
    first_child = metrics["first_child_expected_length"]
    assert (first_child.value, first_child.n) == (0.75, 1)


def test_cases_in_error_are_counted_and_left_out():
    steps = [chain(1.0, 0, 2, 3)]
    cases = [
        case("a", steps),
        case("b", steps, verdict=Verdict.ALGORITHMIC),
        case("c", [chain(0.0, 9, 0, 1)], verdict=Verdict.ERROR),
        case("d", [], domain="chat", verdict=Verdict.ERROR),
    ]
    summary = summarise(cases, FEW)
    assert summary.domains["code"].prompts == 2
    assert summary.overall.metrics["accepted_length"].value == 2.0
    assert summary.overall.verdicts.cases == 4
    assert summary.overall.verdicts.errors == 2
    assert summary.domains["chat"].prompts == 0
    assert all(math.isnan(figure) for figure in values(summary.domains["chat"]).values())


def test_no_case_at_all():
    summary = summarise([], FEW)
    assert summary.domains == {}
    assert (summary.overall.prompts, summary.overall.depth_profile) == (0, ())
    assert all(math.isnan(figure) for figure in values(summary.overall).values())


NO_ORDER = "nodes are not ordered by step and numbered 0, 1, 2, … in each"
NO_PARENT = "its parent is neither the root (−1) nor an earlier node"


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "rule"),
    [
        ("node", "parent", 1, 1, NO_PARENT),
        ("node", "parent", 0, -2, NO_PARENT),
        ("node", "step", 1, 2, "its step is not one of the case's"),
        ("node", "step", 1, -1, "its step is not one of the case's"),
        ("node", "node", 1, 2, NO_ORDER),
        ("node", "step", 2, 0, NO_ORDER),
        ("node", "depth", 1, 1, "its depth is not one more than its parent's"),
        ("step", "step", 1, 0, "steps are not numbered 0, 1, 2, …"),
        ("step", "nodes", 1, -1, "nodes is negative"),
        ("step", "depth", 0, -1, "depth is negative"),
        ("step", "accepted_length", 1, -1, "accepted_length is negative"),
        ("step", "committed_tokens", 1, -1, "committed_tokens is negative"),
    ],
)
def test_columns_that_are_no_trace_are_refused_by_name(table, column, row, value, rule):
    good = case("builtin/code/01", [chain(0.5, 0, 1, 2)] * 2)
    columns = dict(getattr(good, f"{table}s"))
    columns[column] = columns[column].copy()
    columns[column][row] = value
    broken = replace(good, **{f"{table}s": columns})
    with pytest.raises(TraceError) as refused:
        prompt_sums([case("builtin/code/00", [chain(0.5, 0, 1, 2)]), broken])
    assert str(refused.value) == f"case builtin/code/01, {table} row {row}: {rule}"


def test_nodes_of_a_later_step_before_those_of_an_earlier_are_refused():
    good = case("a", [(0, 1, [(-1, 0.5, 0, True, False)])] * 2)
    swapped = {**good.nodes, "step": good.nodes["step"][::-1]}
    with pytest.raises(TraceError, match=f"^case a, node row 1: {NO_ORDER}$"):
        prompt_sums([replace(good, nodes=swapped)])


def test_a_batch_knows_every_rows_case_step_and_parent():
    tree = [(-1, 0.5, 0, True, True), (-1, 0.5, 0, True, True), (1, 0.5, 0, True, True)]
    cases = [case("a", [(0, 1, []), chain(0.5, 0, 1, 2)]), case("b", [(1, 2, tree)] * 2)]
    (batch,) = batches(cases, max_rows=100)
    assert batch.cases == 2
    assert batch.case_of_step.tolist() == [0, 0, 1, 1]
    assert batch.case_of_node.tolist() == [0] * 2 + [1] * 6
    assert batch.step_of_node.tolist() == [1, 1, 2, 2, 2, 3, 3, 3]
    assert batch.parent_row.tolist() == [-1, 0, -1, -1, 3, -1, -1, 6]
    assert batch.steps["nodes"].tolist() == [0, 2, 3, 3]
    assert batch.nodes["depth"].tolist() == [1, 2, 1, 1, 2, 1, 1, 2]


def test_a_case_that_occurs_twice_is_refused():
    with pytest.raises(TraceError, match="case a occurs twice"):
        prompt_sums([case("a", []), case("a", [])])


@st.composite
def steps_of_a_case(draw):
    """Steps over random trees, with random facts: no rule is assumed to have made them.

    But each commits between one token and one more than it kept: other figures are refused.
    """
    probability = st.one_of(st.just(NAN), st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
    steps = []
    for _ in range(draw(st.integers(0, 4))):
        nodes = [
            (
                draw(st.integers(-1, node - 1)),
                draw(probability),
                draw(st.integers(-1, 3)),
                draw(st.booleans()),
                draw(st.booleans()),
            )
            for node in range(draw(st.integers(0, 7)))
        ]
        accepted = draw(st.integers(0, 5))
        steps.append((accepted, draw(st.integers(1, accepted + 1)), nodes))
    return steps


def oracle(cases, depth):
    """Every metric of some cases by plain loops over their rows; NaN where there is none."""
    alphas, ranks, lengths, committed, path_lengths, by_depth = [], [], [], [], [], {}
    drafted = accepted_nodes = reached = 0
    for record in cases:
        nodes = [dict(zip(NODE_COLUMNS, row, strict=True)) for row in zip(*(
            record.nodes[name].tolist() for name in NODE_COLUMNS), strict=True)]  # fmt: skip
        for step, length in enumerate(record.steps["accepted_length"].tolist()):
            lengths.append(length)
            committed.append(record.steps["committed_tokens"].tolist()[step])
            mine = [node for node in nodes if node["step"] == step]
            drafted += len(mine)
            at, product, total = -1, 1.0, 0.0
            while True:
                first = [n for n in mine if n["parent"] == at and n["sibling_rank"] == 0]
                if not first:
                    break
                product *= first[0]["acceptance_probability"]
                total += product
                at = first[0]["node"]
            if total == total:
                path_lengths.append(total)
        for node in nodes:
            reached += node["reached"]
            accepted_nodes += node["accepted"]
            at_depth = by_depth.setdefault(node["depth"], ([], []))
            if node["acceptance_probability"] == node["acceptance_probability"]:
                alphas.append(node["acceptance_probability"])
                at_depth[0].append(node["acceptance_probability"])
            if node["target_rank"] >= 0:
                ranks.append(node["target_rank"] == 0)
                at_depth[1].append(node["target_rank"] == 0)

    def ratio(above, below):
        return above / below if below else NAN

    def mean(numbers):
        return ratio(math.fsum(numbers), len(numbers))

    figures = {
        "acceptance_probability": mean(alphas),
        "greedy_match": mean(ranks),
        "acceptance_rate_drafted": ratio(sum(lengths), drafted),
        "acceptance_rate_reached": ratio(accepted_nodes, reached),
        "first_child_expected_length": mean(path_lengths),
        "study_expected_length": mean(alphas) if not alphas else geometric(mean(alphas), depth),
        "accepted_length": mean(lengths),
        "block_efficiency": mean(committed),
    }
    deepest = max([*by_depth, *lengths], default=0)
    profile = [
        {
            "acceptance_probability": mean(by_depth.get(depth, ([], []))[0]),
            "greedy_match": mean(by_depth.get(depth, ([], []))[1]),
            "reach_rate": mean([length >= depth for length in lengths]),
            "conditional_acceptance": mean(
                [length >= depth for length in lengths if length >= depth - 1]
            ),
        }
        for depth in range(1, deepest + 1)
    ]
    return figures, profile


def geometric(alpha, depth):
    return sum(math.prod([alpha] * d) for d in range(1, depth + 1))


def summary_depth(cases):
    """The deepest of the whole run's drafts, and of what was kept."""
    columns = [
        column
        for each in cases
        for column in (each.nodes["depth"], each.steps["depth"], each.steps["accepted_length"])
    ]
    return max((int(value) for column in columns for value in column), default=0)


def as_found(metrics):
    return {name: estimate.value for name, estimate in metrics.items()}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["chat", "code", "own"]), steps_of_a_case()), max_size=5),
    st.integers(1, 30),
)
def test_every_metric_agrees_with_plain_loops_whatever_the_batches(contents, batch_rows):
    cases = [case(f"c{i}", steps, domain) for i, (domain, steps) in enumerate(contents)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sums, "BATCH_ROWS", batch_rows)
        summary = summarise(cases, FEW)
    groups = {domain: [c for c in cases if c.domain == domain] for domain in summary.domains}
    for name, group in [*summary.domains.items(), ("overall", summary.overall)]:
        figures, profile = oracle(groups.get(name, cases), summary_depth(cases))
        for metric in check_figures(figures):
            figures[metric] = NAN
        assert as_found(group.metrics) == pytest.approx(figures, rel=1e-12, nan_ok=True)
        found = [as_found(depth.metrics) for depth in group.depth_profile]
        for depth, expected in enumerate(profile):
            assert found[depth] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        for beyond in group.depth_profile[len(profile) :]:
            assert beyond.nodes == 0, "a depth that only other domains' drafts have"


@settings(deadline=None, max_examples=20)
@given(st.lists(steps_of_a_case(), min_size=1, max_size=6), st.randoms())
def test_the_order_of_cases_does_not_move_a_bit(contents, random):
    cases = [case(f"c{i}", steps, "code" if i % 2 else "chat") for i, steps in enumerate(contents)]
    shuffled = random.sample(cases, len(cases))
    assert repr(summarise(shuffled, FEW)) == repr(summarise(cases, FEW))


@pytest.mark.parametrize("prompts", [3, 5, 8])
def test_no_interval_is_outside_what_the_trees_can_give(prompts):
    """With a few uneven prompts: lengths within the depth of the trees, which is 2."""
    lengths = [0, 2, 0, 0, 2, 1, 0, 2][:prompts]
    cases = [
        case(f"c{i}", [chain(0.5, 0 if length else 3, length, length + 1)] * (1 + i % 2))
        for i, length in enumerate(lengths)
    ]
    summary = summarise(cases, Resampling(resamples=500))
    for group in (summary.overall, *summary.domains.values()):
        for name, ceiling in {
            "accepted_length": 2, "study_expected_length": 2, "first_child_expected_length": 2,
            "block_efficiency": 3, "acceptance_rate_drafted": 1,
        }.items():  # fmt: skip
            found = group.metrics[name]
            assert not found.reason, name
            assert METRIC_FLOORS.get(name, 0) <= found.low < found.high <= ceiling, name
    assert summary.overall.metrics["accepted_length"].high > 1.2


METRIC_FLOORS = {"block_efficiency": 1}


@pytest.mark.parametrize(("counts", "ceiling"), [([(10, 40, 12), (8, 20, 3), (5, 20, 18)], 4.0)])
def test_of_counters_alone_no_length_is_above_what_a_step_drafts(counts, ceiling):
    cases = [
        replace(
            case(f"c{i}", []),
            counts=Counts(steps=steps, drafted=drafted, accepted=accepted),
            speculative=DecodedOutput(
                token_ids=(1,) * (steps + accepted + 1), stop_reason="length", seconds=1.0
            ),
        )
        for i, (steps, drafted, accepted) in enumerate(counts)
    ]
    found = summarise(cases, FEW).overall.metrics
    assert found["accepted_length"].low < found["accepted_length"].high <= ceiling
    assert 1 <= found["block_efficiency"].low < found["block_efficiency"].high <= ceiling + 1


@pytest.mark.parametrize(
    ("told", "ceiling"),
    [
        # 14 nodes a step, of a tree that is 3 deep; one kept in an output.
        ([Counts(steps=60, drafted_steps=60, drafted=840, accepted=1, longest_draft=3)] * 6, 3),
        # Drafts of 4 in one step of five, all kept: what is drafted a step bounds nothing.
        ([Counts(steps=20, drafted_steps=4, drafted=16, accepted=16)] * 6, 4),
    ],
)
def test_of_counters_alone_the_longest_draft_is_the_bound(told, ceiling):
    cases = [
        replace(
            case(f"c{i}", []),
            counts=counts,
            speculative=DecodedOutput(
                token_ids=(1,) * (counts.steps + counts.accepted + 1),
                stop_reason="length",
                seconds=1.0,
            ),
        )
        for i, counts in enumerate(told)
    ]
    found = summarise(cases, FEW).overall.metrics
    # Prompts that are all alike: 46% of others may keep all that is drafted.
    value, high = found["accepted_length"].value, found["accepted_length"].high
    assert high == pytest.approx(value + 0.4593 * (ceiling - value), rel=1e-3)


def test_no_interval_of_a_real_run_is_above_what_its_tree_can_give():
    """Trees 3x2 of 14 nodes: 3 are kept at most, and of two siblings one is the target's argmax."""
    report = Path(__file__).parents[3] / "reports" / "qwen2.5-coder-0.5b-to-1.5b"
    summary = summarise(load_run(report).cases, FEW)
    for group in (summary.overall, *summary.domains.values()):
        assert group.metrics["acceptance_rate_drafted"].high <= 3 / 14
        assert group.metrics["greedy_match"].high <= 0.5
        for depth in group.depth_profile:
            assert depth.metrics["greedy_match"].high <= 0.5
    # They are bounds that matter: without them an end is beyond.
    value = summary.domains["code"].metrics["acceptance_rate_drafted"].value
    assert value > 0.9 * 3 / 14


def test_siblings_that_may_be_the_same_token_may_all_be_matches():
    def ceiling(ranks):
        siblings = [(-1, 0.5, rank, True, rank == 0) for rank in ranks]
        return prompt_sums([case("a", [(1, 2, siblings)])]).ceilings["greedy_match"]

    assert ceiling([1, 0]) == 0.5
    assert ceiling([1, 2, 0]) == pytest.approx(1 / 3)
    assert ceiling([0, 0]) == 1


def test_metric_names_are_those_of_the_report():
    assert [metric.name for metric in METRICS] == [
        "acceptance_probability",
        "greedy_match",
        "acceptance_rate_drafted",
        "acceptance_rate_reached",
        "first_child_expected_length",
        "accepted_length",
        "block_efficiency",
    ]
    assert [metric.name for metric in DEPTH_METRICS] == [
        "acceptance_probability",
        "greedy_match",
        "reach_rate",
        "conditional_acceptance",
    ]


def test_domains_come_in_the_studys_order_and_then_by_name():
    cases = [case(str(i), [], d) for i, d in enumerate(["zoo", "chat", "logic", "law", "code"])]
    assert list(summarise(cases, FEW).domains) == ["code", "logic", "chat", "law", "zoo"]


def test_batches_are_bounded_and_hold_every_case_in_order():
    cases = [case(f"c{i}", [chain(0.5, 0, 1, 2)] * (i % 4)) for i in range(9)]
    made = list(batches(cases, max_rows=10))
    assert sum(batch.cases for batch in made) == len(cases)
    assert max(len(b.case_of_step) + len(b.case_of_node) for b in made) <= 10
    assert len(made) > 1


def test_a_batch_is_filled_to_the_last_row():
    cases = [case(f"c{i}", [chain(0.5, 0, 1, 2)]) for i in range(5)]
    assert [batch.cases for batch in batches(cases, max_rows=6)] == [2, 2, 1]
    assert [batch.cases for batch in batches(cases, max_rows=5)] == [1] * 5


def test_sums_do_not_overflow_or_round_in_small_types():
    record = case("a", [(30_000, 30_000, [(-1, 1.0, 0, True, True)])] * 3)
    assert record.steps["accepted_length"].dtype == np.int16
    totals = prompt_sums([record]).totals
    assert totals["accepted"][0] == totals["committed_tokens"][0] == 90_000


def test_no_interval_of_block_efficiency_goes_below_a_token_a_step():
    """Three prompts, two of which keep nothing: a variance that by itself would reach below 1."""
    long, short = ([chain(0.5, 0, kept, kept + 1)] * 15 for kept in (2, 0))
    cases = [case(f"{index}", steps) for index, steps in enumerate((long, short, short))]
    overall = summarise(cases).overall
    found = overall.metrics["block_efficiency"]
    assert 1.0 <= found.low < 1.1 < found.value < found.high
    assert overall.metrics["accepted_length"].low < 1.0
