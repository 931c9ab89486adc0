"""What --spec-fail can say, and how it refuses."""

import math

import pytest

from draftproof.errors import UsageError
from draftproof.gate import parse_gate
from draftproof.gate.expression import EVERY_DOMAIN, ONE_WAY, OVERALL, RATIOS, check_reach
from draftproof.shapes import parse_tree


@pytest.mark.parametrize(
    ("text", "metric", "scope", "fall", "rise", "relative"),
    [
        ("acceptance_rate:-0.02", "acceptance_rate_drafted", EVERY_DOMAIN, 0.02, 0.02, False),
        ("acceptance_rate_reached:-1%", "acceptance_rate_reached", "", 0.01, 0.01, True),
        ("block_efficiency@chat:-3%", "block_efficiency", "chat", 0.03, math.inf, True),
        ("block_efficiency:±3%", "block_efficiency", EVERY_DOMAIN, 0.03, 0.03, True),
        ("block_efficiency:+-3%", "block_efficiency", EVERY_DOMAIN, 0.03, 0.03, True),
        ("accepted_length@overall:+0.5", "accepted_length", OVERALL, math.inf, 0.5, False),
        ("speedup:-10%", "speedup", OVERALL, 0.1, math.inf, True),
        (" greedy_match:-0 ", "greedy_match", EVERY_DOMAIN, 0.0, 0.0, False),
        ("identical", "identical", OVERALL, 0.0, 0.0, False),
        ("acceptance_rate:>=0.3", "acceptance_rate_drafted", EVERY_DOMAIN, 0.0, math.inf, False),
        ("acceptance_rate@chat:≤0.9", "acceptance_rate_drafted", "chat", math.inf, 0.0, False),
        ("acceptance_rate:>=1", "acceptance_rate_drafted", EVERY_DOMAIN, 0.0, math.inf, False),
        ("speedup:>=1.2", "speedup", OVERALL, 0.0, math.inf, False),
    ],
)
def test_an_expression_is_read(text, metric, scope, fall, rise, relative):
    gate = parse_gate(text)
    found = (gate.metric, gate.scope, gate.fall, gate.rise, gate.relative)
    assert found == (metric, scope, fall, rise, relative)
    assert parse_gate(gate.text) == gate


@pytest.mark.parametrize("metric", RATIOS)
def test_acceptance_is_watched_both_ways_and_speed_one_way(metric):
    assert parse_gate(f"{metric}:-0.1").both_ways == (metric not in ONE_WAY)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acceptence_rate:-0.02", "metric: unknown value 'acceptence_rate'; did you mean 'accept"),
        ("acceptance_rate", "how much may it change"),
        ("acceptance_rate:0.02", "cannot read it; give METRIC[@SCOPE]:-MARGIN"),
        ("acceptance_rate:-", "cannot read it"),
        ("acceptance_rate:-two", "'two' is not a number"),
        ("acceptance_rate:-nan", "a margin is 0 or a positive number"),
        ("acceptance_rate:--1", "a margin is 0 or a positive number"),
        ("block_efficiency:-100%", "leaves nothing"),
        ("speedup:-0.1", "speedup changes by a share"),
        ("speedup:-0%", "noise is always larger than a margin of 0"),
        ("acceptance_rate:>=30%", "give it without %, for example 0.3 for 30%"),
        ("acceptance_rate:>=1.5", "acceptance_rate_drafted lies between 0 and 1"),
        ("acceptance_rate:>=nan", "acceptance_rate_drafted lies between 0 and 1"),
        ("acceptance_rate:>=0", "is never below 0, so this gate could not fail"),
        ("acceptance_rate:<=1", "is never above 1, so this gate could not fail"),
        ("block_efficiency:>=1", "is never below 1, so this gate could not fail"),
        ("accepted_length:<=inf", "lies between 0 and inf"),
        ("acceptance_rate:>0.3", "cannot read it"),
        ("identical:>=1", "takes no margin"),
        ("identical:-1%", "takes no margin"),
        ("identical@chat", "takes no margin"),
        ("", "cannot read it"),
    ],
)
def test_what_cannot_be_read_is_refused(text, message):
    with pytest.raises(UsageError) as refusal:
        parse_gate(text)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "tree", "most"),
    [
        # Of 14 nodes a step keeps 3, one a level: 3 ÷ 14.
        ("acceptance_rate:>=0.215", "3x2", "0.214 and this gate could not pass"),
        ("acceptance_rate:<=0.3", "3x2", "0.214 and this gate could not fail"),
        ("accepted_length:>=3.1", "3x2", "3 and this gate could not pass"),
        ("accepted_length:<=4", "chain:4", "4 and this gate could not fail"),
        ("block_efficiency@chat:>=5.5", "chain:4", "5 and this gate could not pass"),
        ("first_child_expected_length:>=3.5", "3x2", "3 and this gate could not pass"),
        # After the root and each of 6 nodes, one of two siblings at most is the argmax: 7 ÷ 14.
        ("greedy_match:>=0.51", "3x2", "0.5 and this gate could not pass"),
        ("greedy_match:<=0.5", "3x2", "0.5 and this gate could not fail"),
        ("greedy_match:>=0.7", "static:[[0],[1],[0,0]]", "0.667 and this gate could not pass"),
    ],
)
def test_a_bound_that_no_draft_of_a_shape_reaches_is_refused(text, tree, most):
    with pytest.raises(UsageError) as refusal:
        check_reach(parse_gate(text), parse_tree(tree))
    assert f"the figure is never above {most}" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("acceptance_rate:>=0.21", "3x2"),
        ("acceptance_rate:>=1", "chain:4"),
        ("acceptance_rate:>=0.5", "lookup:5"),
        ("acceptance_rate_reached:>=0.9", "3x2"),
        ("accepted_length:>=3", "3x2"),
        ("greedy_match:>=0.5", "3x2"),
        ("greedy_match:>=0.9", "chain:3"),
        ("greedy_match:>=0.9", "sampled:3x2"),
        ("greedy_match:>=0.9", "3x1"),
        ("speedup:>=3", "3x2"),
        ("acceptance_rate:-0.5", "3x2"),
        ("identical", "3x2"),
    ],
)
def test_a_bound_that_drafts_can_reach_is_not_refused(text, tree):
    check_reach(parse_gate(text), parse_tree(tree))
