"""Counters without steps: what they leave open, and every way in which they cannot be."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.engines.draft_limits import draft_limits, told_counts_problems
from draftproof.engines.protocol import Generation
from draftproof.statistics import Resampling, summarise
from draftproof.statistics.count_identities import (
    check_accepted,
    check_counts,
    check_told_steps,
    step_bounds,
)
from draftproof.statistics.identities import check_figures, check_identities
from draftproof.statistics.sums import prompt_sums
from draftproof.trace import CaseRecord, Counts, DecodedOutput, Verdict, counts_from

FEW = Resampling(resamples=200)
BELIEVED = ("accepted_length", "block_efficiency")


def record(case_id, counts, tokens, *, reason="length", domain="code"):
    output = DecodedOutput(token_ids=tuple(range(tokens)), stop_reason=reason, seconds=1.0)
    return CaseRecord(
        case_id=case_id,
        domain=domain,
        prompt_tokens=5,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
        counts=counts,
    )


N_GRAM = [
    # Each as vLLM 0.32 with n-gram drafts of 4 counts it: 8 outputs of 48 tokens, of which prefill
    # makes one. 111 drafts, 443 tokens drafted, 109 accepted, 376 committed.
    (48, 14, 56, 12), (48, 16, 64, 20), (48, 10, 40, 5), (48, 14, 56, 14),
    (48, 15, 60, 16), (48, 12, 47, 10), (48, 16, 64, 18), (48, 14, 56, 14),
]  # fmt: skip


def n_gram(**more):
    return [
        record(
            f"c{index}",
            Counts(drafted_steps=steps, drafted=drafted, accepted=accepted, **more),
            tokens,
        )
        for index, (tokens, steps, drafted, accepted) in enumerate(N_GRAM)
    ]


def test_steps_without_a_draft_are_counted_too():
    """By hand: 376 − 109 = 267 steps; 376 ÷ 267 = 1.41; 109 ÷ 267 = .41 (not 376 ÷ 111 = 3.39)."""
    overall = summarise(n_gram(longest_draft=4), FEW).overall
    assert (overall.steps, overall.nodes) == (267, 443)
    assert overall.metrics["block_efficiency"].value == pytest.approx(376 / 267)
    assert f"{overall.metrics['block_efficiency'].value:.2f}" == "1.41"
    assert overall.metrics["accepted_length"].value == pytest.approx(109 / 267)
    assert overall.metrics["acceptance_rate_drafted"].value == pytest.approx(109 / 443)
    # Each output's last step may have been cut by up to 4 accepted tokens: up to 8 · 4 steps more.
    assert overall.most_steps == 267 + 32
    assert overall.at_least == {
        "accepted_length": pytest.approx(109 / 299),
        "block_efficiency": pytest.approx(376 / 299),
    }


def test_nothing_accepted_leaves_nothing_open():
    """With nothing accepted, each step made one token: 47 steps, of which 6 had a draft."""
    case = record("a", Counts(drafted_steps=6, drafted=24, accepted=0), 48)
    overall = summarise([case], FEW).overall
    assert (overall.steps, overall.most_steps) == (47, None)
    assert overall.metrics["block_efficiency"].value == 1.0
    assert overall.metrics["accepted_length"].value == 0.0


@pytest.mark.parametrize(
    ("counts", "tokens", "bounds"),
    [
        (Counts(steps=5, drafted=10, accepted=4), 10, (5, 5)),
        # 9 committed, 4 accepted: 5 steps, and one for each accepted token that was cut off.
        (Counts(drafted_steps=3, drafted=12, accepted=4, longest_draft=4), 10, (5, 9)),
        (Counts(drafted_steps=3, drafted=6, accepted=4, longest_draft=2), 10, (5, 7)),
        # Drafts were longer than what was left: the steps with a draft are the fewest.
        (Counts(drafted_steps=3, drafted=12, accepted=8, longest_draft=4), 10, (3, 5)),
        (Counts(drafted=12, accepted=9), 10, (1, 9)),
        (Counts(drafted_steps=3, drafted=9, accepted=4, lengths=(1, 0, 2)), 10, (5, 7)),
        (Counts(drafted=0, accepted=0), 10, (9, 9)),
        (Counts(drafted=0, accepted=0), 1, (0, 0)),
    ],
)
def test_bounds_of_the_number_of_steps(counts, tokens, bounds):
    assert step_bounds(counts, tokens) == bounds


IMPOSSIBLE = [
    (Counts(steps=1, drafted=1000, accepted=1000), 8, "993 more than the output's 8"),
    (Counts(drafted_steps=1, drafted=1000, accepted=1000), 8, "993 more than the output's 8"),
    (Counts(drafted=1000, accepted=1000), 8, "than the output's 8"),
    (Counts(drafted_steps=8, drafted=16, accepted=16, longest_draft=4), 8, "16 more than the"),
    (Counts(steps=2, drafted=40, accepted=9, longest_draft=4), 12, "keeps 4 at most: 8"),
    (Counts(steps=2, drafted=4, accepted=5), 8, "5 tokens were accepted of 4"),
    (Counts(steps=2, drafted=-4, accepted=-5), 8, "the counter of drafted is -4"),
    (Counts(steps=4, drafted=14, accepted=13), 20, "they make 18 at most"),
    (Counts(steps=9, drafted=9, accepted=0), 8, "9 steps cannot have made 8 tokens"),
    (Counts(drafted_steps=9, drafted=9, accepted=0), 8, "9 steps with a draft cannot have made 8"),
    (Counts(drafted_steps=3, drafted=2, accepted=0), 8, "cannot have drafted 2 tokens in all"),
    (Counts(drafted_steps=0, drafted=2, accepted=0), 8, "2 tokens were drafted, and in no step"),
    (Counts(drafted_steps=5, steps=4, drafted=9, accepted=1), 8, "more than the 4 steps there"),
    (Counts(steps=5, drafted=9, accepted=2, lengths=(3, 0, 1)), 8, "those of 4 steps, and 5 steps"),
    (Counts(steps=5, drafted=9, accepted=2, lengths=(4, 1)), 8, "add up to 1 tokens, and 2 were"),
    (
        Counts(steps=5, drafted=9, accepted=2, lengths=(4, 0, 1), longest_draft=1),
        8,
        "a step kept 2 tokens, and the longest draft has 1",
    ),
    (
        Counts(drafted_steps=5, drafted=9, accepted=2, generated=16),
        8,
        "counts 16 generated tokens during this request, and its output has 8: something else",
    ),
    (Counts(drafted_steps=5, drafted=9, accepted=2, generated=0), 8, "counts 0 generated tokens"),
]


@pytest.mark.parametrize(("counts", "tokens", "why"), IMPOSSIBLE)
def test_counters_that_cannot_be_are_named_and_are_in_no_figure(counts, tokens, why):
    lines = check_counts(counts, tokens)
    assert any(why in line for line in lines), lines
    lying = record("a", counts, tokens)
    assert any(why in line for line in check_identities(lying, tells_steps=False))
    sound = record("b", Counts(drafted_steps=2, drafted=8, accepted=0), 9)
    overall = summarise([lying, sound], FEW).overall
    assert (overall.steps, overall.nodes) == (8, 8)
    assert all(overall.metrics[name].value >= 0 for name in BELIEVED)


def test_no_step_drafts_more_than_any_engine_does():
    for told in ({"steps": 7}, {"drafted_steps": 7}, {}):
        (line,) = check_counts(Counts(drafted=10**6, accepted=0, **told), 8)
        assert "1000000 tokens were drafted" in line
        assert "4096 at most" in line
        assert line.endswith("(an engine with larger drafts says so with tree)")
        assert not check_counts(Counts(drafted=7000, accepted=0, **told), 8)


def test_nodes_of_the_tree_that_was_asked_for_bound_what_is_drafted():
    counts = Counts(steps=2, drafted=29, accepted=2, longest_draft=3)
    assert check_counts(counts, 5) == []
    (line,) = check_counts(counts, 5, most_nodes=14)
    assert line == "29 tokens were drafted in 2 steps, and a draft has 14 at most: 28"


@pytest.mark.parametrize(
    ("described", "drafted", "lines"),
    [
        ({"draft_length": 4}, 8, []),
        (
            {"draft_length": 4},
            9,
            ["9 tokens were drafted in 2 steps with a draft, and a draft"],
        ),
        ({"tree": "3x2"}, 28, []),
        ({"tree": "3x2"}, 29, ["29 tokens were drafted in 2 steps with a draft, and a draft"]),
        ({}, 99, []),
    ],
)
def test_what_an_engine_says_of_its_drafts_bounds_what_is_drafted(described, drafted, lines):
    counts = Counts(drafted_steps=2, drafted=drafted, accepted=2)
    answer = Generation(token_ids=tuple(range(5)), stop_reason="length", seconds=1, counts=counts)
    problems = told_counts_problems(answer, draft_limits(described))
    assert len(problems) == len(lines)
    assert all(line in problem for line, problem in zip(lines, problems, strict=True))


def test_told_steps_are_held_to_what_the_engine_says_of_its_drafts(make_broken_steps):
    steps = {**make_broken_steps[0].steps, "nodes": np.array([4, 9]), "depth": np.array([4, 6])}
    answer = Generation(token_ids=tuple(range(5)), stop_reason="length", seconds=1, steps=steps)
    assert told_counts_problems(answer, draft_limits({"draft_length": 9})) == []
    assert told_counts_problems(answer, draft_limits({"draft_length": 5})) == [
        "step 1: its draft has 9 nodes, and the largest draft 5",
        "step 1: its draft is 6 deep, and the deepest 5",
    ]


def histories(longest, most_steps):
    """Every way to decode: drafted and kept of each step, the cut, and what counters say of it."""
    each = [(drafted, kept) for drafted in range(longest + 1) for kept in range(drafted + 1)]
    for count in range(most_steps + 1):
        for steps in itertools.product(each, repeat=count):
            kept = sum(a for _, a in steps)
            drafts = [a for n, a in steps if n]
            lengths = tuple(np.bincount(drafts, minlength=1).tolist()) if drafts else (0,)
            for cut, prefill in itertools.product(range(steps[-1][1] + 1 if steps else 1), (0, 1)):
                yield {
                    "steps": count,
                    "drafted_steps": len(drafts),
                    "drafted": sum(n for n, _ in steps),
                    "accepted": kept,
                    "tokens": prefill + kept + count - cut,
                    "lengths": lengths,
                }


@pytest.mark.parametrize(("longest", "most_steps"), [(1, 4), (2, 3), (3, 3)])
@pytest.mark.parametrize(
    "told",
    [
        ("steps", "drafted_steps"),
        ("steps",),
        ("drafted_steps",),
        (),
        ("steps", "drafted_steps", "lengths"),
        ("drafted_steps", "lengths"),
    ],
)
def test_counters_are_refused_exactly_where_no_way_of_decoding_has_them(longest, most_steps, told):
    """Against every way there is, for outputs that no more steps can have made."""
    names = (*told, "drafted", "accepted", "tokens")
    possible = {tuple(way[name] for name in names) for way in histories(longest, most_steps)}
    tokens = range(1, most_steps + 1)
    values = {
        "steps": range(most_steps + 1),
        "drafted_steps": range(most_steps + 2),
        "lengths": {way["lengths"] for way in histories(longest, most_steps)},
        "drafted": range(longest * most_steps + 2),
        "accepted": range(longest * most_steps + 2),
        "tokens": tokens,
    }
    for way in itertools.product(*(values[name] for name in names)):
        counts = dict(zip(names, way, strict=True))
        length = counts.pop("tokens")
        refused = check_counts(Counts(**counts, longest_draft=longest), length, most_nodes=longest)
        assert bool(refused) == (way not in possible), (way, refused)


def test_a_stop_string_may_be_found_a_step_or_two_late():
    """Ended by a text, 12 tokens: the counters hold 2 steps more, with 8 accepted tokens."""
    counts = Counts(drafted_steps=5, drafted=20, accepted=19, longest_draft=4, generated=25)
    assert check_counts(counts, 12)
    assert check_counts(counts, 12, by_text=True) == []
    assert check_counts(replace(counts, accepted=24, drafted=24), 12, by_text=True)


@st.composite
def engines(draw):
    """What an engine did, step by step: drafted, kept; then the end cuts the last step."""
    longest = draw(st.integers(1, 6))
    steps = []
    for _ in range(draw(st.integers(0, 12))):
        drafted = draw(st.integers(0, longest))
        steps.append((drafted, draw(st.integers(0, drafted))))
    cut = draw(st.integers(0, steps[-1][1])) if steps else 0
    return longest, steps, cut, draw(st.booleans())


@settings(deadline=None)
@given(engines())
def test_what_an_engine_really_did_is_never_refused_and_lies_within_the_bounds(did):
    longest, steps, cut, tells = did
    kept = [accepted for _, accepted in steps]
    tokens = 1 + sum(kept) + len(steps) - cut
    drafted = [(n, a) for n, a in steps if n]
    counts = Counts(
        drafted=sum(n for n, _ in steps),
        accepted=sum(kept),
        drafted_steps=len(drafted),
        longest_draft=longest if tells else None,
        lengths=tuple(np.bincount([a for _, a in drafted], minlength=1).tolist())
        if tells
        else None,
        generated=tokens if tells else None,
    )
    assert check_counts(counts, tokens, most_nodes=longest) == []
    told = replace(counts, steps=len(steps), lengths=None)
    assert check_counts(told, tokens) == []
    fewest, most = step_bounds(counts, tokens)
    assert fewest <= len(steps) <= most
    assert step_bounds(told, tokens) == (len(steps), len(steps))
    # Which tokens of the output were kept, and what follows from it.
    flags = [False]
    for accepted in kept:
        flags += [True] * accepted + [False]
    flags = flags[:tokens]
    assert check_accepted(flags, counts) == []
    assert check_accepted(flags, told) == []
    # An engine that takes off what was cut before it counts is right as well.
    after = replace(counts, accepted=sum(flags), lengths=None)
    assert check_counts(after, tokens) == []
    fewest, most = step_bounds(after, tokens)
    assert fewest <= len(steps) <= most
    if tokens > 1:
        figures = summarise([record("a", counts, tokens)], FEW).overall
        assert check_figures({n: e.value for n, e in figures.metrics.items()}) == {}
        assert not any(figures.metrics[name].reason.startswith("block") for name in BELIEVED)


@pytest.mark.parametrize(
    ("flags", "counts", "why"),
    [
        ("0101010101", Counts(drafted_steps=2, drafted=8, accepted=5), "at 5 places with another"),
        ("0111111110", Counts(drafted_steps=2, drafted=8, accepted=8, longest_draft=4), "8 tokens"),
        ("0110000000", Counts(drafted=90, accepted=72, drafted_steps=2), "cut off 64 at most"),
        ("0110000000", Counts(drafted=8, accepted=2, steps=2), "8 tokens of the output are not"),
        ("0111000000", Counts(drafted=8, accepted=2, steps=6), "3 tokens of the output are called"),
    ],
)
def test_tokens_called_accepted_are_held_to_the_counters(flags, counts, why):
    accepted = [flag == "1" for flag in flags]
    lines = check_accepted(accepted, counts)
    assert any(re.search(why, line) for line in lines), lines


def test_counters_beside_told_steps_are_those_of_the_steps():
    steps = {
        "step": np.arange(3),
        "nodes": np.array([4, 0, 4]),
        "accepted_length": np.array([2, 0, 1]),
        "committed_tokens": np.array([3, 1, 2]),
    }
    right = Counts(steps=3, drafted_steps=2, drafted=8, accepted=3)
    assert check_told_steps(right, steps) == []
    assert check_told_steps(replace(right, drafted_steps=3), steps) == [
        "the counter of drafted steps says 3, and its steps add up to 2"
    ]


@pytest.mark.parametrize(
    ("figures", "wrong"),
    [
        ({"block_efficiency": 3.39, "accepted_length": 0.98}, set(BELIEVED)),
        ({"block_efficiency": 7.75, "accepted_length": 0.0}, set(BELIEVED)),
        ({"block_efficiency": 0.99, "accepted_length": 0.98}, set(BELIEVED)),
        ({"block_efficiency": 1.98, "accepted_length": 0.98}, set()),
        ({"block_efficiency": float("nan"), "accepted_length": 0.98}, set()),
        ({"acceptance_rate_drafted": 1.2}, {"acceptance_rate_drafted"}),
        ({"acceptance_rate_drafted": 1.0, "accepted_length": 3.0}, set()),
    ],
)
def test_a_headline_that_contradicts_another_is_refused(figures, wrong):
    assert set(check_figures(figures)) == wrong


def test_a_refused_headline_is_not_estimable_and_says_why(make_broken_steps):
    overall = summarise(make_broken_steps, FEW).overall
    for name in BELIEVED:
        estimate = overall.metrics[name]
        assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
        assert "contradict each other: a step commits 1 token at least" in estimate.reason
    assert overall.metrics["acceptance_rate_drafted"].value == 0.5


@pytest.fixture
def make_broken_steps():
    """Steps that commit 4 tokens and kept 1: whatever told them is wrong."""
    columns = {
        "step": np.arange(2),
        "nodes": np.array([2, 2]),
        "depth": np.array([2, 2]),
        "accepted_length": np.array([1, 1]),
        "committed_tokens": np.array([4, 4]),
        "root_position": np.array([5, 9]),
        "draft_seconds": np.zeros(2),
        "verify_seconds": np.zeros(2),
    }
    return [
        replace(record(name, None, 9), steps={k: v.copy() for k, v in columns.items()})
        for name in ("a", "b")
    ]


def test_counts_of_older_schemas_are_read_as_steps_with_a_draft():
    old = {"steps": 111, "drafted": 443, "accepted": 109}
    assert counts_from(old) == Counts(drafted_steps=111, drafted=443, accepted=109)
    # More of them than drafted tokens: they cannot all have had a draft.
    assert counts_from({"steps": 9, "drafted": 4, "accepted": 1}).steps == 9
    new = Counts(drafted_steps=3, drafted=9, accepted=4, lengths=(1, 0, 2))
    saved = record("a", new, 10).to_json()
    assert CaseRecord.from_json(saved).counts == new
    assert prompt_sums([CaseRecord.from_json(saved)]).totals["steps"].tolist() == [5]
