"""Accuracy of both outputs on the same prompts, with Clopper and Pearson's intervals."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from draftproof.statistics import accuracy, summarise
from draftproof.trace import CaseRecord, DecodedOutput, Verdict


def case(number, plain, speculative, *, domain="math", reason="stop_token"):
    output = DecodedOutput(token_ids=(1,), stop_reason=reason, seconds=1.0)
    return CaseRecord(
        case_id=f"{domain}/{number}",
        domain=domain,
        prompt_tokens=1,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
        plain_score=plain,
        speculative_score=speculative,
    )


SCORES = [(1.0, 1.0)] * 5 + [(1.0, 0.0)] * 2 + [(0.0, 1.0)] + [(0.0, 0.0)] * 4


def test_counts_shares_and_intervals():
    cases = [case(n, *scores) for n, scores in enumerate(SCORES)]
    found = accuracy([*cases, case(99, None, None)])
    assert (found.plain.right, found.speculative.right, found.plain.prompts) == (7, 6, 12)
    assert (found.gained, found.lost, found.cut) == (1, 2, 0)
    for share in (found.plain, found.speculative):
        assert share.value == share.right / 12
        expected = proportion_confint(share.right, 12, 0.05, method="beta")
        assert (share.low, share.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("right", [0, 9])
def test_the_interval_holds_at_the_ends(right):
    score = 1.0 if right else 0.0
    found = accuracy([case(n, score, score) for n in range(9)]).plain
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(right, 9, 0.05, method="beta"), abs=1e-12
    )
    assert found.high - found.low > 0.2


def test_outputs_that_the_limit_cut_off_are_counted():
    cases = [case(0, 0.0, 0.0, reason="length"), case(1, 1.0, 1.0)]
    assert accuracy(cases).cut == 1


def test_what_is_not_scored_has_no_accuracy():
    assert accuracy([]) is None
    assert accuracy([case(0, None, None)]) is None


def test_a_score_between_is_an_error():
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        accuracy([case(0, 0.5, 0.5)])


def test_a_summary_has_it_by_domain_and_over_all():
    cases = [case(n, 1.0, 0.0) for n in range(2)] + [case(0, 0.0, 0.0, domain="logic")]
    summary = summarise([*cases, case(0, None, None, domain="chat")])
    assert summary.domains["math"].accuracy.lost == 2
    assert summary.domains["logic"].accuracy.plain.value == 0
    assert summary.domains["chat"].accuracy is None
    assert summary.overall.accuracy.plain.prompts == 3
