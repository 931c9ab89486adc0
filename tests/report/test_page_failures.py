"""What a page says of cases that failed, and of speculation that was slower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from page_tools import make_page, make_source

from draftproof.report.context import slower_line
from draftproof.report.page.failures import SHOWN_FAILURES, failed_cases, fork_steps
from draftproof.trace import Fork, Verdict


def fork(index):
    return Fork(
        index=index,
        token_id=1,
        target_token_id=2,
        margin=1.0,
        width=4,
        spread=0.0,
        reproduced=False,
    )


def failing(case, *indices, message="why"):
    forks = tuple(fork(index) for index in indices)
    return replace(case, verdict=Verdict.ALGORITHMIC, message=message, forks=forks)


def test_every_token_is_found_in_the_step_that_emitted_it(make_cases):
    case = make_cases(prompts=1, steps=6)[0]
    committed = case.steps["committed_tokens"].tolist()
    expected, index = [(0, 0)], 1
    for step, tokens in enumerate(committed, start=1):
        for _ in range(tokens):
            expected.append((index, step))
            index += 1
    assert fork_steps(failing(case, *range(index))) == expected


def test_without_a_token_of_prefill_the_first_step_begins_at_0(make_cases):
    case = make_cases(prompts=1, steps=2)[0]
    output = replace(case.speculative, token_ids=case.speculative.token_ids[1:])
    found = fork_steps(replace(failing(case, 0), speculative=output))
    assert found == [(0, 1)]


def test_cases_that_failed_and_no_others_are_told(make_cases):
    one, two, three, four = make_cases(prompts=4, steps=2)
    cases = [
        failing(one, 1),
        replace(two, verdict=Verdict.ERROR, message="it died", speculative=None),
        replace(three, contradictions=("a broken identity",)),
        replace(four, verdict=Verdict.NUMERICAL, message="near-ties"),
    ]
    found = {case.case_id: case for case in failed_cases(cases, [cases[0]])}
    assert set(found) == {one.case_id, two.case_id, three.case_id}
    assert found[one.case_id].forks[0].link.endswith("&step=1")
    assert found[two.case_id].forks == ()
    assert found[three.case_id].what == "contradictory counts"
    assert "a broken identity" in found[three.case_id].message
    # A case that the viewer does not hold has no link to it.
    assert failed_cases([failing(one, 1)], [])[0].forks[0].link == ""


def test_a_page_keeps_the_lines_of_a_message_escapes_it_and_stays_short(make_cases, run_facts):
    cases = make_cases(prompts=SHOWN_FAILURES + 4, steps=2)
    message = "first\n  <script>second</script>"
    page = make_page(run_facts, [failing(case, 1, message=message) for case in cases])
    assert page.html.count("first\n  &lt;script&gt;second&lt;/script&gt;</pre>") == SHOWN_FAILURES
    assert "And 4 more: the run" in page.html


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_a_speedup_below_1_is_explained_by_what_a_step_took(make_cases, run_facts, seconds):
    """Each step drafts for .3 s and verifies for .5 s; prefill and the rest take .2 s a step."""
    cases = []
    for case in make_cases(prompts=8, steps=5):
        steps = {name: column.copy() for name, column in case.steps.items()}
        steps["draft_seconds"] = np.full(5, 0.3, "f4")
        steps["verify_seconds"] = np.full(5, 0.5, "f4")
        tokens = len(case.speculative.token_ids)
        cases.append(
            replace(
                case,
                steps=steps,
                speculative=replace(case.speculative, seconds=5.0),
                plain=replace(case.plain, seconds=seconds * 5.0),
            )
        )
        assert tokens == 1 + int(steps["committed_tokens"].sum())
    source = make_source(run_facts, cases)
    line = slower_line(source.costs[1], source.summary.overall)
    if seconds > 1:
        assert line == ""
        assert "slower than plain decoding" not in make_page(run_facts, cases).html
        return
    kept = source.summary.overall.metrics["block_efficiency"].value
    assert line.startswith(
        "Speedup 0.50: speculation was slower than plain decoding. A step committed "
        f"{kept:.2f} tokens and took as long as {2 * kept:.2f} tokens take plainly (drafting "
        f"{0.6 * kept:.2f}, verifying {kept:.2f}, prefill and the rest {0.4 * kept:.2f})."
    )
    assert make_page(run_facts, cases).html.count("Speedup 0.50: speculation was slower") == 2
