"""Whole comparisons: scopes, plans, refusals, and what is printed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from study_traces import study_run

from draftproof.errors import UsageError
from draftproof.gate import (
    Outcome,
    Storage,
    compare,
    comparison_json,
    judge_alone,
    measured_run,
    parse_gate,
)
from draftproof.gate.comparison import check_metrics
from draftproof.gate.exact import StepFacts
from draftproof.gate.planning import plan_lines, plans, undecidable_lines
from draftproof.report.comparison_text import markdown_comparison, terminal_comparison
from draftproof.report.metrics_json import strict_json
from draftproof.report.page.comparison import comparison_html
from draftproof.report.tree_text import side_by_side, tree_lines
from draftproof.trace import CaseRecord, Counts, DecodedOutput, Verdict


def gates(*texts):
    return [parse_gate(text) for text in texts]


def test_a_gate_is_applied_to_every_domain_unless_it_names_one(earlier, later):
    found = compare(earlier, later(), gates("acceptance_rate:-1%", "accepted_length@overall:-1"))
    scopes = [judgement.scope for judgement in found.judgements]
    assert scopes == ["code", "math", "logic", "chat", "overall"]
    assert [judgement.prompts for judgement in found.judgements] == [6, 6, 6, 6, 24]
    assert found.outcome is Outcome.PASS


def test_a_fall_is_found_in_its_domain(earlier, later, first_accepted_is_lost):
    changed = later(first_accepted_is_lost(0.9, domains=("logic",)))
    found = compare(earlier, changed, gates("accepted_length:-1%"), alpha=0.2)
    outcomes = {judgement.scope: judgement.outcome for judgement in found.judgements}
    assert outcomes == {
        "code": Outcome.PASS,
        "math": Outcome.PASS,
        "logic": Outcome.FAIL,
        "chat": Outcome.PASS,
    }
    assert found.outcome is Outcome.FAIL
    assert found.first.case_id.startswith("synthetic/logic/")


def test_without_gates_nothing_is_judged(earlier, later, first_accepted_is_lost):
    found = compare(earlier, later(first_accepted_is_lost(0.9)))
    assert found.outcome is None
    assert len(found.judgements) == 6
    text = terminal_comparison(found)
    assert text.startswith("COMPARISON: later against earlier")
    assert "inconclusive" not in text
    assert {gate["outcome"] for gate in comparison_json(found)["gates"]} == {None}


def test_only_common_cases_are_compared_and_the_others_are_told(earlier, cases, later):
    found = compare(earlier, later(cases[:10]), gates("acceptance_rate:-1%"))
    assert len(found.compared) == 10
    assert any("14 cases of earlier are not in the other run" in note for note in found.notes)


def test_cases_in_error_and_changed_outputs_are_told(earlier, cases, later):
    changed = list(cases)
    changed[0] = replace(cases[0], verdict=Verdict.ERROR)
    changed[1] = replace(cases[1], verdict=Verdict.ALGORITHMIC)
    notes = compare(earlier, later(changed)).notes
    assert any("1 case of later ended in an error: left out" in note for note in notes)
    assert any("1 case of later has an output that is not" in note for note in notes)


def test_runs_without_a_common_case_are_refused(earlier, cases, later):
    renamed = [replace(case, case_id=f"other/{i}") for i, case in enumerate(cases)]
    with pytest.raises(UsageError, match=r"no case in common: it has synthetic/.*other/0"):
        compare(earlier, later(renamed))
    with pytest.raises(UsageError, match=r"no case in common: .*this run has none"):
        compare(earlier, later([]))


def test_runs_that_differ_are_refused_with_the_differences_unless_asked_for(earlier, later, run):
    other = replace(run, config={**run.config, "seed": 8}, versions={"torch": "2.8.0"})
    with pytest.raises(UsageError) as refusal:
        compare(earlier, later(run=other))
    assert "setting seed: 7 → 8; version of torch: 2.9.0 → 2.8.0" in str(refusal.value)
    assert "--spec-compare-anyway" in str(refusal.value)
    found = compare(earlier, later(run=other), anyway=True)
    assert len(found.mismatches) == 2
    assert "Compared although" in terminal_comparison(found)


def test_other_prompts_are_called_that(earlier, later, run):
    """Neither the engine nor the draft model is to blame where the prompts are others."""
    before = replace(earlier, run=replace(run, prompts={"a/0": "11", "a/1": "22"}))
    other = later(run=replace(run, prompts={"a/0": "33", "a/1": "44"}))
    with pytest.raises(UsageError) as refusal:
        compare(before, other)
    assert str(refusal.value).startswith("cannot compare with earlier: the prompts differ, so that")
    assert "text of prompt a/0 (and 1 more prompts): 11 → 33" in str(refusal.value)


def test_a_domain_that_is_not_there_is_refused(earlier, later):
    with pytest.raises(UsageError, match=r"unknown value 'chatt'; did you mean 'chat'\?"):
        compare(earlier, later(), gates("acceptance_rate@chatt:-1%"))
    with pytest.raises(UsageError, match="unknown value 'chatt'"):
        plans(earlier, gates("acceptance_rate@chatt:-1%"), 0.05)


def test_a_figure_that_the_baseline_does_not_have_is_refused(earlier):
    lacking = {**earlier.totals, "known_nodes": np.zeros(len(earlier.case_ids))}
    with pytest.raises(UsageError, match="has no acceptance_probability: no node has"):
        check_metrics(replace(earlier, totals=lacking), gates("acceptance_probability:-1%"))
    check_metrics(earlier, gates("acceptance_probability:-1%", "speedup:-1%", "identical"))


def test_identical_fails_on_any_difference(earlier, later, with_column, run):
    (gate,) = gates("identical")
    assert compare(earlier, later(), [gate]).outcome is Outcome.PASS
    changed = later(with_column(3, "nodes", "draft_rank", 5, 99))
    assert compare(earlier, changed, [gate]).outcome is Outcome.PASS
    changed = later(with_column(3, "nodes", "token_id", 5, 99))
    found = compare(earlier, changed, [gate])
    assert found.outcome is Outcome.FAIL
    assert found.judgements[0].reason == "1 of 24 cases differ"
    other = later(run=replace(run, config={**run.config, "seed": 8}))
    assert compare(earlier, other, [gate], anyway=True).outcome is Outcome.NO_VERDICT
    verdict = compare(earlier, other, [gate], anyway=True).judgements[0]
    assert verdict.outcome is Outcome.NO_VERDICT


def test_plans_are_of_the_baselines_own_spread(earlier):
    """By hand: the standard error of two unpaired runs of one domain."""
    (plan,) = plans(earlier, gates("block_efficiency@code:-1"), 0.05)
    rows = [i for i, domain in enumerate(earlier.domains) if domain == "code"]
    a, b = (earlier.totals[name][rows] for name in ("committed_tokens", "steps"))
    assert plan.baseline == pytest.approx(a.sum() / b.sum())
    residuals = (a - plan.baseline * b) / b.mean()
    error = residuals.std(ddof=1) * math.sqrt(2 / 6)
    # Student's 95% quantile on 5 degrees of freedom, and the normal 80% one.
    assert plan.detectable == pytest.approx(1 + (2.0150484 + 0.8416212) * error, rel=1e-6)


def test_plans_say_when_nothing_can_fail_and_when_nothing_can_pass(earlier):
    few = plans(earlier, gates("acceptance_rate:-1%"), 0.05)
    assert all(math.isinf(plan.detectable) for plan in few)
    (line,) = plan_lines(few)
    assert "cannot fail" in line
    assert f"at least {few[0].fewest} prompts are needed" in line
    (line,) = plan_lines(plans(earlier, gates("accepted_length@overall:-0.001"), 0.05))
    assert "fails with a chance of 80%" in line
    assert "leaves unchanged engines inconclusive" in line
    assert plan_lines(plans(earlier, gates("speedup:-1%", "identical"), 0.05)) == []
    (line,) = plan_lines(plans(earlier, gates("speedup@code:-1%"), 0.01))
    assert "cannot fail (code, 6 prompts): at least 7 prompts are needed" in line


def test_the_terminal_shows_gates_reasons_and_both_trees(earlier, later, first_accepted_is_lost):
    changed = later(first_accepted_is_lost(0.2))
    found = compare(earlier, changed, gates("accepted_length:-1%", "speedup:-10%"))
    text = terminal_comparison(found)
    assert text.startswith("GATE INCONCLUSIVE: later against earlier, 24 cases, paired by prompt")
    assert "prompts would decide (there are 6)" in text
    assert "First difference: synthetic/" in text
    assert "the commit changed (accepted length" in text
    assert text.count("root at") == 2
    assert max(map(len, text.splitlines())) <= 120


def test_markdown_and_json_say_the_same(earlier, later, first_accepted_is_lost):
    found = compare(
        earlier, later(first_accepted_is_lost(0.9)), gates("accepted_length@overall:-1%")
    )
    text = markdown_comparison(found)
    assert text.startswith("# GATE FAILED: later against earlier")
    assert "| accepted_length@overall:-1% | overall | 24 |" in text
    assert "```\n" in text
    values = json.loads(strict_json(comparison_json(found)))
    assert values["outcome"] == "fail"
    assert values["gates"][0]["high"] < -0.01
    assert values["first_difference"]["changed"] == "commit"
    assert len(values["first_difference"]["before"]["nodes"]["token_id"]) == 14


def test_trees_side_by_side():
    nodes = {
        "node": [0, 1, 2],
        "parent": [-1, -1, 0],
        "token_id": [7, 8, 9],
        "target_probability": [0.5, 0.25, 1.0],
        "draft_probability": [0.75, float("nan"), None],
        "reached": [True, False, True],
        "accepted": [True, False, False],
    }
    lines = tree_lines(nodes, 12, marked=2)
    assert side_by_side(lines, ["  (not known)"], ("  main", "  this run")) == (
        "  main                             this run\n"
        "  root at 12                       (not known)\n"
        "  ├─ 7  p .500 q .750 kept\n"
        "► │  └─ 9  p 1.000 q – reached\n"
        "  └─ 8  p .250 q –"
    )


def test_a_large_tree_is_cut_around_the_marked_node():
    n = 200
    nodes = {
        "node": list(range(n)),
        "parent": [-1] * n,
        "token_id": list(range(n)),
        "target_probability": [0.5] * n,
        "draft_probability": [0.5] * n,
        "reached": [False] * n,
        "accepted": [False] * n,
    }
    lines = side_by_side(tree_lines(nodes, 1, marked=150), ["x"], ("a", "b")).splitlines()
    assert len(lines) < 50
    assert any(line.startswith("►") and " 150 " in line for line in lines)
    assert "lines above" in lines[1]
    assert "lines below" in lines[-1]


EVERY_KIND = gates(
    "accepted_length:-1%",
    "acceptance_rate@overall:-0.01",
    "acceptance_rate:>=0.3",
    "speedup:-10%",
    "speedup:>=1",
    "identical",
)


def everything(before, now):
    """All that a comparison and its plan say, to the last digit."""
    found = compare(before, now, EVERY_KIND)
    alone = judge_alone(now, [gate for gate in EVERY_KIND if gate.bound is not None])
    return [
        strict_json(comparison_json(found)),
        strict_json(comparison_json(alone)),
        terminal_comparison(found),
        markdown_comparison(found),
        comparison_html(found),
        *plan_lines(plans(before, EVERY_KIND, 0.05)),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_depends_on_the_order_in_which_cases_ended(
    cases, run, first_accepted_is_lost, seed
):
    """Of either run; with a case in error, one with another output, and seconds of each case."""
    changed = first_accepted_is_lost(0.3)
    changed[3] = replace(changed[3], verdict=Verdict.ERROR)
    changed[5] = replace(changed[5], verdict=Verdict.ALGORITHMIC)
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(cases)) for _ in range(2)]
    expected = everything(measured_run("a", run, cases), measured_run("b", run, changed))
    earlier = measured_run("a", run, [cases[index] for index in orders[0]])
    later = measured_run("b", run, [changed[index] for index in orders[1]])
    assert everything(earlier, later) == expected


def test_a_baseline_is_the_same_file_whatever_the_order(cases, run, tmp_path):
    written = [
        Storage(tmp_path / name).save("main", measured_run("a", run, some), traces=False)
        for name, some in (("one", cases), ("other", cases[::-1]))
    ]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_many_prompts_have_one_p_value_whatever_the_order(run):
    """60 prompts: more exchanges than are tried, so that which ones are tried must not matter."""
    many = study_run(prompts=60, steps=4, between=0.3, seed=4)
    code = [case for case in many if case.domain == "code"]
    worse = []
    for number, case in enumerate(code):
        lengths = np.maximum(case.steps["accepted_length"] - (number % 4 == 0), 0).astype("<i2")
        worse.append(replace(case, steps={**case.steps, "accepted_length": lengths}))
    before = measured_run("a", run, code)
    (gate,) = gates("acceptance_rate:-0.01")
    p_values = set()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(worse))
        now = measured_run("b", run, [worse[index] for index in order])
        (judgement,) = compare(before, now, [gate]).judgements
        p_values.add((judgement.p_fail, judgement.p_pass, judgement.change))
    assert len(p_values) == 1
    assert 0 < next(iter(p_values))[0] < 1


def test_a_floor_is_judged_without_an_earlier_run(earlier):
    found = judge_alone(earlier, gates("acceptance_rate@overall:>=0.9", "accepted_length:<=9"))
    assert found.outcome is Outcome.FAIL
    outcomes = [judgement.outcome for judgement in found.judgements]
    assert outcomes == [Outcome.FAIL, *[Outcome.PASS] * 4]
    text = terminal_comparison(found)
    assert text.startswith("GATE FAILED: earlier, 24 cases\n")
    assert "acceptance_rate_drafted@overall:>=0.9" in text
    assert "against" not in text
    values = comparison_json(found)
    assert values["before"] is None
    (judged, *_) = values["gates"]
    assert (judged["bound"], judged["change"], judged["before"]) == (0.9, None, None)
    assert judged["now_low"] < judged["now"] < judged["now_high"] < 0.9
    with pytest.raises(UsageError, match="is about a change, and there is no earlier run"):
        judge_alone(earlier, gates("acceptance_rate:-0.1"))
    with pytest.raises(UsageError, match="did you mean 'chat'"):
        judge_alone(earlier, gates("acceptance_rate@chatt:>=0.1"))
    with pytest.raises(UsageError, match="shows two runs, and there is only one"):
        comparison_html(found)


def test_a_floor_beside_a_change_is_of_the_later_runs_own_cases(earlier, cases, later):
    """The earlier run lacks a domain: the floor is judged there all the same."""
    part = measured_run("part", earlier.run, [c for c in cases if c.domain != "chat"])
    found = compare(part, later(), gates("acceptance_rate:-0.9", "acceptance_rate:>=0.01"))
    scopes = [(j.gate.needs_baseline, j.scope, j.prompts) for j in found.judgements]
    assert (False, "chat", 6) in scopes
    assert (True, "chat", 6) not in scopes


@pytest.mark.parametrize("text", ["accepted_length@code:-50%", "accepted_length@code:<=9"])
def test_nothing_passes_where_cases_of_the_later_run_ended_in_an_error(earlier, cases, later, text):
    """They may be the ones that changed; those of other domains or the earlier run are not."""
    assert compare(earlier, later(), gates(text)).outcome is Outcome.PASS
    of_code = next(i for i, case in enumerate(cases) if case.domain == "code")
    of_chat = next(i for i, case in enumerate(cases) if case.domain == "chat")
    for index, outcome in ((of_code, Outcome.INCONCLUSIVE), (of_chat, Outcome.PASS)):
        broken = list(cases)
        broken[index] = replace(cases[index], verdict=Verdict.ERROR)
        found = compare(earlier, later(broken), gates(text))
        assert found.outcome is outcome
    broken[of_code] = replace(cases[of_code], verdict=Verdict.ERROR)
    found = compare(earlier, later(broken), gates(text))
    assert "1 of its cases ended in an error" in found.judgements[0].reason
    assert "see to the errors first" in terminal_comparison(found)
    before = measured_run("before", earlier.run, broken)
    assert compare(before, later(), gates(text)).outcome is Outcome.PASS


def test_a_domain_that_is_lost_to_errors_is_not_forgotten(earlier, cases, later):
    broken = [
        replace(case, verdict=Verdict.ERROR) if case.domain == "math" else case for case in cases
    ]
    found = compare(earlier, later(broken), gates("acceptance_rate:-0.5"))
    by_scope = {judgement.scope: judgement for judgement in found.judgements}
    assert by_scope["math"].prompts == 0
    assert by_scope["math"].outcome is Outcome.INCONCLUSIVE
    assert found.outcome is Outcome.INCONCLUSIVE
    assert compare(earlier, later(broken), gates("identical")).outcome is Outcome.INCONCLUSIVE


def test_an_engine_that_tells_no_steps_is_not_the_same_step_by_step(earlier, later):
    def without_steps(run):
        return replace(run, steps={c: StepFacts(f.rows[:0]) for c, f in run.steps.items()})

    found = compare(without_steps(earlier), without_steps(later()), gates("identical"))
    assert found.outcome is Outcome.NO_VERDICT
    assert found.judgements[0].reason == "the engine tells no steps, so none was compared"
    assert not found.identical
    assert "Identical" not in terminal_comparison(found)


@pytest.fixture
def untold(run):
    """A run of 12 prompts whose steps are only bounded: 47 committed, 12 accepted, drafts of 4."""
    output = DecodedOutput(token_ids=tuple(range(48)), stop_reason="length", seconds=1.0)
    cases = [
        CaseRecord(
            case_id=f"c{index:02}",
            domain="code",
            prompt_tokens=5,
            verdict=Verdict.IDENTICAL,
            plain=output,
            speculative=output,
            counts=Counts(drafted_steps=14, drafted=56, accepted=11 + index % 3, longest_draft=4),
        )
        for index in range(12)
    ]
    return measured_run("untold", run, cases)


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [
        # By hand: 564 committed, 144 accepted: 420 steps at least, 468 at most: 1.343, 1.205.
        ("block_efficiency:>=1.15", Outcome.PASS),
        ("block_efficiency:>=1.25", Outcome.INCONCLUSIVE),
        ("block_efficiency:>=1.4", Outcome.FAIL),
        ("block_efficiency:<=1.4", Outcome.PASS),
        ("block_efficiency:<=1.3", Outcome.INCONCLUSIVE),
        ("block_efficiency:<=1.15", Outcome.FAIL),
        ("accepted_length:>=0.325", Outcome.INCONCLUSIVE),
        ("acceptance_rate:>=0.1", Outcome.PASS),
    ],
)
def test_a_bound_is_held_to_both_ends_of_a_figure_whose_steps_are_not_told(
    untold, tmp_path, bound, outcome
):
    storage = Storage(tmp_path)
    storage.save("kept", untold, traces=False)
    for now in (untold, storage.load("kept")):
        found = judge_alone(now, gates(bound))
        assert found.outcome is outcome
        (judgement,) = found.judgements
        if "block" in bound:
            assert judgement.reason.endswith("the figure is 1.205 to 1.343")
            low, high = judgement.interval_now
            assert low < 564 / 468 < 564 / 420 < high
        assert any("does not tell its steps" in note for note in found.notes)


def test_contradictory_counts_are_said_beside_a_gate(earlier, cases, later):
    broken = [replace(cases[0], contradictions=("step 0: …",)), *cases[1:]]
    found = compare(earlier, later(broken))
    assert "In 1 case of later counts contradict each other" in " ".join(found.notes)


def test_what_this_sessions_prompts_are_too_few_for_is_told_before_it_runs():
    several = gates("acceptance_rate:-0.02", "block_efficiency@overall:-1%", "identical")
    lines = undecidable_lines(several, {"code": 4, "chat": 30}, 0.05)
    assert lines == [
        "gate acceptance_rate_drafted:-0.02: cannot fail in code (4): at least 8 prompts are needed"
    ]
    assert undecidable_lines(several, {"code": 30, "chat": 30}, 0.05) == []
    (line,) = undecidable_lines(gates("acceptance_rate:>=0.3"), {"code": 4}, 0.05)
    assert "at least 5 prompts are needed" in line
    (line, *_) = undecidable_lines(several, {"code": 30}, 1e-4)
    assert "give fewer gates, or a larger --spec-alpha" in line


def test_small_samples_are_told_what_they_may_lack(earlier, later):
    found = compare(earlier, later(), gates("acceptance_rate:-1%"))
    assert "Decided on 6 prompts, which may hold none of a kind that is 39%" in " ".join(
        terminal_comparison(found).split()
    )
    few = [case for case in earlier.case_ids if case.endswith(("0", "1"))]
    part = measured_run("part", earlier.run, [earlier.traces[case] for case in few])
    text = terminal_comparison(compare(earlier, part, gates("acceptance_rate:-1%")))
    assert "2 prompts decide nothing; give at least 5" in " ".join(text.split())


def test_a_figure_that_the_later_run_lacks_is_no_matter_of_prompts(earlier):
    few = [case for case in earlier.case_ids if case.endswith(("0", "1"))]
    part = measured_run("part", earlier.run, [earlier.traces[case] for case in few])
    none = np.zeros_like(part.totals["drafted"])
    untold = {**part.totals, "drafted": none, "accepted_of_drafted": none}
    later = replace(part, totals=untold)
    text = " ".join(
        terminal_comparison(compare(earlier, later, gates("acceptance_rate:-1%"))).split()
    )
    assert "there is no such figure now: no node was drafted" in text
    assert "decide nothing" not in text
