"""What is said beside figures: speculation that did nothing, and prompts that are missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from draftproof.report import terminal_report
from draftproof.report.markdown import markdown_report
from draftproof.report.notes import (
    SHOWN_AS_ZERO,
    PromptCount,
    nothing_accepted_lines,
    prompt_counts,
    prompt_lines,
    run_notes,
)
from draftproof.report.page import PageSource
from draftproof.report.page.document import page_html
from draftproof.statistics import Resampling, study, summarise
from draftproof.trace import NODE_COLUMNS, STEP_COLUMNS, Counts, Verdict, empty_columns

FEW = Resampling(resamples=100)


def notes(run, cases, **told):
    return run_notes(run, summarise(cases, FEW), cases, **told)


@pytest.fixture
def run(run_facts):
    """A run of the reference engine on drafts of 3x2, of which the facts of the data are known."""
    data = {d: {"prompts": 2, "available": 2} for d in ("code", "math", "logic", "chat")}
    config = {**run_facts.config, "tree": "3x2"}
    return replace(run_facts, config=config, data=data, models={}, command=("pytest",))


def with_steps(case, **columns):
    """The case with other step columns, and no node told."""
    steps = {name: values.copy() for name, values in case.steps.items()}
    for name, values in columns.items():
        steps[name][:] = values
    return replace(case, steps=steps, nodes=empty_columns(NODE_COLUMNS))


def counted(case, counts):
    return replace(
        case,
        counts=counts,
        steps=empty_columns(STEP_COLUMNS),
        nodes=empty_columns(NODE_COLUMNS),
    )


def test_an_ordinary_run_has_no_note(run, make_cases):
    assert notes(run, make_cases()) == []


def test_nothing_accepted(run, make_cases):
    cases = [with_steps(case, accepted_length=0, committed_tokens=1) for case in make_cases()]
    (line,) = notes(run, cases)
    assert line == ("overall: none of 560 drafted tokens was accepted: speculation only cost time")
    assert nothing_accepted_lines(cases) == [line], "said beside counters alone, too"
    assert nothing_accepted_lines(make_cases()) == nothing_accepted_lines([]) == []
    mixed = [
        case if case.domain != "code" else with_steps(case, accepted_length=0, committed_tokens=1)
        for case in make_cases()
    ]
    assert notes(run, mixed) == [
        "code: none of 140 drafted tokens was accepted: speculation only cost time"
    ]


def test_nothing_drafted(run, make_cases):
    none = {"nodes": 0, "depth": 0, "accepted_length": 0, "committed_tokens": 1}
    cases = [with_steps(case, **none) for case in make_cases()]
    assert notes(run, cases) == [
        "nothing was drafted in 40 steps of 8 outputs: no speculation took place (does the engine "
        "draft at all?)"
    ]
    lookup = replace(run, config={**run.config, "tree": "lookup:14"})
    one = [with_steps(case, **none) if i == 3 else case for i, case in enumerate(make_cases())]
    assert notes(lookup, one) == ["nothing was drafted for 1 of 8 outputs"]


def test_counters_that_stay_at_0(run, make_cases):
    cases = [counted(case, Counts(drafted=0, accepted=0, drafted_steps=0)) for case in make_cases()]
    (line,) = notes(run, cases)
    assert line.startswith("nothing was drafted in ")
    assert "of 8 outputs: no speculation took place" in line


def test_a_draft_model_whose_context_ends_early(run, make_cases):
    """Roots from position 47 on have no room for 14 nodes: 2 are left, then none."""
    cases = [
        with_steps(case, nodes=np.where(case.steps["root_position"] < 47, 14, 2))
        for case in make_cases()
    ]
    fewer = sum(int((case.steps["root_position"] >= 47).sum()) for case in cases)
    begins = min(p for c in cases for p in c.steps["root_position"].tolist() if p >= 47)
    mean = np.concatenate([case.steps["nodes"] for case in cases]).mean()
    (line,) = notes(run, cases)
    assert line == (
        f"3x2 asks for drafts of 14 tokens, and {mean:.1f} were drafted a step: fewer in {fewer} "
        f"of 40 steps, all at positions from {begins} of the sequence on: the context of a model "
        "(the draft model's, if the target decodes on) ends there"
    )
    # Anywhere, it is no context that ends.
    anywhere = [with_steps(case, nodes=[2, 14, 2, 14, 2]) for case in make_cases()]
    (line,) = notes(run, anywhere)
    assert line == (
        "3x2 asks for drafts of 14 tokens, and 6.8 were drafted a step: fewer in 24 of 40 steps"
    )


def test_drafts_that_end_where_their_length_is_not_fixed(run, make_cases):
    stopping = replace(run, config={**run.config, "tree": "chain:14,stop=0.3"})
    cases = [
        with_steps(
            case,
            nodes=np.where(case.steps["root_position"] < 45, 14, 0),
            accepted_length=np.where(case.steps["root_position"] < 45, 1, 0),
        )
        for case in make_cases()
    ]
    (line,) = notes(stopping, cases)
    assert line.startswith("nothing was drafted in ")
    assert "all that are at positions above 44 of the sequence" in line
    assert (
        notes(stopping, [with_steps(case, nodes=[2, 14, 2, 14, 2]) for case in make_cases()]) == []
    )


def test_many_steps_without_a_draft_are_said(run, make_cases):
    lookup = replace(run, config={**run.config, "tree": "lookup:14"})
    assert notes(lookup, [with_steps(case, nodes=[0, 14, 2, 0, 14]) for case in make_cases()]) == [
        "nothing was drafted in 16 of 40 steps of outputs that had drafts"
    ]


def test_lengths_next_to_nothing_are_said_although_a_rate_is_not_printed_as_zero(run, make_cases):
    cases = [with_steps(case, accepted_length=0, committed_tokens=1) for case in make_cases()]
    kept = np.array([0, 1, 0, 0, 0])
    cases[0] = with_steps(cases[0], accepted_length=kept, committed_tokens=kept + 1)
    rate = summarise(cases, FEW).overall.metrics["acceptance_rate_drafted"].value
    assert rate > SHOWN_AS_ZERO
    drafted = sum(int(case.steps["nodes"].sum()) for case in cases)
    assert (
        f"overall: 1 of {drafted} drafted tokens was accepted: speculation only cost time"
        in notes(run, cases)
    )


@pytest.mark.parametrize(
    ("engine", "command", "drafted", "expected"),
    [
        # A server that was started with other drafts than this run's option names.
        (
            {"name": "openai"},
            ("pytest", "--spec-tree=chain:4"),
            6,
            "--spec-tree asks for chain:4, drafts of 4 tokens, and the engine openai drafted 2.0 "
            "tokens a step with a draft: it has settings of its own",
        ),
        ({"name": "openai"}, ("pytest", "--spec-tree=chain:4"), 12, None),
        (
            {"name": "llama-cpp", "draft_length": 5},
            ("pytest",),
            9,
            "draft_length=5 asks for drafts of 5 tokens, and 3.0 were drafted a step with a draft",
        ),
        ({"name": "llama-cpp", "draft_length": 5}, ("pytest",), 14, None),
    ],
)
def test_what_was_asked_and_what_was_drafted_differ(
    run, make_cases, engine, command, drafted, expected
):
    tree = "chain:4" if len(command) > 1 else "3x2"
    other = replace(
        run, models={"engine": engine}, command=command, config={**run.config, "tree": tree}
    )
    counts = Counts(drafted=drafted, accepted=2, steps=3, drafted_steps=3)
    cases = []
    for case in make_cases():
        output = replace(case.speculative, token_ids=tuple(range(6)))
        cases.append(counted(replace(case, plain=output, speculative=output), counts))
    assert notes(other, cases) == ([] if expected is None else [expected])


def test_steps_that_are_not_told_are_said_with_their_bounds(run, make_cases):
    """9 committed, 4 accepted: 5 steps; or up to 2 more, where the last step was cut."""
    case = make_cases()[0]
    output = replace(case.speculative, token_ids=tuple(range(10)))
    case = replace(case, plain=output, speculative=output)
    counts = Counts(drafted=8, accepted=4, drafted_steps=4, longest_draft=2)
    facts = replace(run, data={}, models={"engine": {"name": "openai"}})
    cases = [counted(case, counts)]
    code, overall = notes(facts, cases)
    assert overall == (
        "overall: the engine does not tell its steps; by its counters and outputs they are 5 "
        "(committed − accepted tokens, where no output was cut inside a step) to 7: accepted "
        "length 0.57 to 0.80 and block efficiency 1.29 to 1.80"
    )
    assert code == overall.replace("overall", "code")
    text = terminal_report(facts, summarise(cases, FEW), cases)
    assert "≤ 1.80" in text
    assert "≥ 5" in text


def test_contradictory_counters_are_said_to_be_in_no_figure(run, make_cases):
    cases = make_cases()
    cases[0] = counted(cases[0], Counts(drafted=1000, accepted=1000, drafted_steps=1))
    assert notes(run, cases) == [
        "the counters of 1 of 1 cases contradict themselves or the output, and are in no figure"
    ]


def test_contradictory_steps_are_said_to_be_in_the_figures(run, make_cases):
    cases = make_cases()
    cases[1] = replace(cases[1], contradictions=("step 0: more tokens accepted than drafted",))
    assert notes(run, cases) == [
        f"the counts of 1 of {len(cases)} cases contradict each other, and are in these figures: "
        f"believe none before that is mended (first {cases[1].case_id})"
    ]


def test_prompts_that_are_not_in_the_figures(run, make_cases):
    cases = make_cases()
    cases[4] = replace(cases[4], verdict=Verdict.ERROR, message="no memory")
    data = {**run.data, "code": {"prompts": 3, "available": 164}}
    counts = prompt_counts(replace(run, data=data), cases)
    assert counts["code"] == PromptCount(measured=1, errors=1, given=3, of_data=164)
    assert (counts["code"].not_run, counts["math"].is_whole) == (1, True)
    assert notes(replace(run, data=data), cases) == [
        "code: these figures are of 1 of the 164 prompts of the data: 161 were left out by the "
        "limit, 1 ended in an error, 1 were not run"
    ]
    # Reports of older versions do not know how many the data has.
    old = replace(run, data={**run.data, "code": {"prompts": 3}})
    assert notes(old, cases) == [
        "code: these figures are of 1 of the 3 prompts of the data: 1 ended in an error, 1 were "
        "not run"
    ]


def test_domains_without_a_suite_of_their_own_are_counted_with_the_others(run, make_cases):
    qa = [replace(case, domain="qa" if i % 2 else "rag") for i, case in enumerate(make_cases())]
    other = replace(run, data={"other": {"prompts": 8, "available": 9}})
    assert prompt_counts(other, qa) == {
        "other": PromptCount(measured=8, errors=0, given=8, of_data=9)
    }
    assert prompt_counts(replace(run, data={}), qa).keys() == {"qa", "rag"}
    assert prompt_lines(prompt_counts(replace(run, data={}), qa)) == []


def test_every_form_of_a_report_has_the_notes(run, make_cases):
    cases = [with_steps(case, accepted_length=0, committed_tokens=1) for case in make_cases()]
    limited = replace(run, data={**run.data, "code": {"prompts": 2, "available": 164}})
    summary, found = summarise(cases, FEW), study(cases, FEW)
    lines = run_notes(limited, summary, cases, complete=False)
    assert len(lines) == 3
    terminal = terminal_report(limited, summary, cases, complete=False)
    page = page_html(
        PageSource(run=limited, cases=cases, summary=summary, study=found, complete=False)
    )
    for form in (terminal, markdown_report(limited, summary, cases, complete=False), page):
        flat = " ".join(form.split())
        for line in lines:
            assert line[1:] in flat, line
