"""The exact checks of ``draftproof verify``: the right parts pass, wrong ones are named."""

import re
from types import SimpleNamespace

import pytest

from draftproof.acceptance import RejectionRule
from draftproof.batch import drafters as batch_drafters
from draftproof.batch import rules as batch_rules
from draftproof.config import RunConfig
from draftproof.conformance import exact_checks
from draftproof.conformance.check_result import Status
from draftproof.conformance.subject import Subject
from draftproof.drafting import lookup, static_tree
from draftproof.drafting.chain import ChainDrafter
from draftproof.drafting.sampled_tree import SampledTreeDrafter
from draftproof.sampling import TokenLaw
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping, StopReason


def subject(rule=None, tree="chain:2"):
    return Subject(
        pair=SimpleNamespace(), config=RunConfig(tree=parse_tree(tree)), prompts=(), rule=rule
    )


@pytest.fixture
def only(monkeypatch):
    """Has few shapes enumerated."""

    def choose(*shapes):
        monkeypatch.setattr(exact_checks, "_SHAPES", shapes)
        monkeypatch.setattr(exact_checks, "_BATCH_SHAPES", shapes)

    return choose


def problem(finding):
    assert finding.status is Status.FAILED, finding
    return finding.lines[0]


class KeepsMore(RejectionRule):
    def keeps(self, p, q, token):
        return super().keeps(p, 0.9 * q, token)


def test_a_wrong_rule_of_ones_own_is_named_with_its_smallest_case(only):
    only("chain:2")
    line = problem(exact_checks.exact_outputs(subject(KeepsMore())))
    assert "should have" in line
    assert "(chain:2 with the rule " in line
    assert "KeepsMore" in line
    assert "p = [" in line


def test_a_right_rule_of_ones_own_passes(only):
    only("chain:2")
    finding = exact_checks.exact_outputs(subject(RejectionRule()))
    assert finding.status is Status.PASSED, finding
    assert finding.places > 50


def test_a_batch_rule_that_the_single_one_is_not(only, monkeypatch):
    only("chain:2")
    right = batch_rules._residual
    monkeypatch.setattr(batch_rules, "_residual", lambda p, q: right(p, q).square())
    assert problem(exact_checks.exact_outputs(subject())).startswith("in a batch, ")


def test_a_filter_that_judge_and_engine_would_share(only, monkeypatch):
    only("none")
    right = TokenLaw.penalised
    monkeypatch.setattr(TokenLaw, "penalised", lambda self, *a: right(self, *a).round(decimals=1))
    assert "plain decoding's output" in "\n".join(exact_checks.exact_outputs(subject()).lines)


def test_an_end_that_judge_and_engine_would_share(only, monkeypatch):
    only("none")
    right = Stopping.cut

    def cut(self, output, emitted):
        committed, reason = right(self, output, emitted)
        is_early = reason is StopReason.STOP_TOKEN and len(output) + len(committed) == 2
        return committed, None if is_early else reason

    monkeypatch.setattr(Stopping, "cut", cut)
    assert "stop token" in problem(exact_checks.exact_outputs(subject()))


def test_a_lookup_that_is_a_token_late_proposes_what_its_shape_does_not(only, monkeypatch):
    only("lookup:3,ngram=2")
    right = lookup.continuation
    monkeypatch.setattr(lookup, "continuation", lambda *a: right(*a)[1:])
    assert exact_checks.exact_outputs(subject()).status is Status.PASSED
    assert problem(exact_checks.exact_drafts(subject())).startswith("the draft")


def test_a_tree_that_grows_the_wrong_way(only, monkeypatch):
    only("2x2")
    right = static_tree.most_probable
    wrong = lambda *a: [list(reversed(row)) for row in right(*a)]  # noqa: E731
    monkeypatch.setattr(static_tree, "most_probable", wrong)
    assert problem(exact_checks.exact_drafts(subject())).startswith("the draft")


def test_a_shorter_chain(only, monkeypatch):
    only("chain:3")
    right = ChainDrafter.__init__

    def shorter(self, model, shape):
        right(self, model, parse_tree("chain:2"))

    monkeypatch.setattr(batch_drafters.ChainDrafter, "__init__", shorter)
    lines = exact_checks.exact_drafts(subject()).lines
    assert lines
    assert all(line.startswith("in a batch") for line in lines)


def test_what_is_not_made_of_parts_is_not_available():
    from dataclasses import replace

    other = replace(subject(), config=replace(subject().config, engine="my_package:make"))
    for check in (exact_checks.exact_outputs, exact_checks.exact_drafts):
        assert check(other).status is Status.NOT_AVAILABLE


def test_what_raises_is_a_finding_on_the_part(only):
    class Raises(RejectionRule):
        def left(self, p, q, token):
            raise ZeroDivisionError("residual")

    only("chain:2")
    line = problem(exact_checks.exact_outputs(subject(Raises())))
    assert "ZeroDivisionError: residual" in line


def test_a_drafter_that_has_not_seen_the_last_token(only, monkeypatch):
    """Seen at a prompt of the other parity, where the tables depend on it."""
    only("sampled:1x2")
    right = SampledTreeDrafter.draft

    def stale(self, sequence, room, law, randomness):
        return right(self, (*sequence[:-1], 0), room, law, randomness)

    monkeypatch.setattr(SampledTreeDrafter, "draft", stale)
    assert problem(exact_checks.exact_drafts(subject())).startswith("the draft")


def test_cases_that_cannot_be_followed_are_counted(only, monkeypatch):
    only("chain:2")
    monkeypatch.setattr(exact_checks, "_BUDGET", 5)
    finding = exact_checks.exact_outputs(subject())
    assert finding.status is Status.PASSED
    assert re.search(r"^\d+ cases have more than 5 branches a step", "\n".join(finding.lines))
