"""The law that each alternative states is the law of the faulty procedure, by enumeration."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import distributions

from draftproof.acceptance import PointMassRule, RejectionRule
from draftproof.drafting.protocol import Draft
from draftproof.enumeration import exact_law
from draftproof.laws import ProposalLaw
from draftproof.lossless.evidence import DeclaredRule, Observation, Stream
from draftproof.lossless.evidence.alternatives import ALTERNATIVES, Kind
from draftproof.lossless.evidence.fault_laws import Form, read_from
from draftproof.lossless.evidence.position import locate
from draftproof.randomness import Purpose
from draftproof.tree import DraftTree

EXACT = 1e-12

fewer = settings(max_examples=max(6, settings.default.max_examples // 8))
"""Fifty laws of two to four ids: an eighth of the profile's examples of each is plenty."""


@st.composite
def laws(draw, count=2):
    """Laws over the same few ids, with zeros and spikes."""
    size = draw(st.integers(2, 4))
    return [draw(distributions(size)) for _ in range(count)]


def at(p, q, *, rule=DeclaredRule.REJECTION, **others):
    observation = Observation(
        target=p.numpy(),
        draft=None if q is None else q.numpy(),
        token=0,
        **{name: law.numpy() if torch.is_tensor(law) else law for name, law in others.items()},
    )
    return locate(observation, rule).position


def alternative(kind, strength=""):
    return next(a for a in ALTERNATIVES if a.kind is kind and a.strength == strength)


def enumerated(procedure, size):
    """The rows [kept, rejected] of a procedure that returns (kept, token)."""
    rows = np.zeros((2, size))
    for (kept, token), probability in exact_law(procedure).items():
        rows[0 if kept else 1, token] += probability
    return rows


def one_round(p, q, *, drawn=None, keep=None, correct=None):
    """One drafted position as an engine decides it, token by token and coin by coin."""
    drawn = q if drawn is None else drawn
    keep = keep or (lambda x: min(1.0, float(p[x] / q[x])) if q[x] > 0 else 1.0)
    correct = correct or (lambda x: left_over(p, q))

    def procedure(randomness):
        x = randomness.categorical(drawn, Purpose.DRAFT)
        if randomness.bernoulli(keep(x), Purpose.ACCEPT):
            return True, x
        return False, randomness.categorical(correct(x), Purpose.CORRECTION)

    return enumerated(procedure, len(p))


def left_over(p, q):
    left = (p - q).clamp_min(0)
    return left if float(left.sum()) > 0 else p


def only(token, size):
    return torch.eye(size, dtype=torch.float64)[token]


def without(p, x):
    left = p.clone()
    left[x] = 0
    return left


def power(law, exponent):
    return torch.where(law > 0, law**exponent, 0 * law)


def check(found, expected):
    np.testing.assert_allclose(np.stack(found), expected, atol=EXACT)


PROCEDURES = {
    (Kind.NO_RESIDUAL, ""): lambda p, q: one_round(p, q, correct=lambda x: p),
    (Kind.INVERTED_RATIO, ""): lambda p, q: one_round(
        p, q, keep=lambda x: min(1.0, float(q[x] / p[x])) if p[x] > 0 else 1.0
    ),
    (Kind.REVERSED_RESIDUAL, ""): lambda p, q: one_round(p, q, correct=lambda x: left_over(q, p)),
    (Kind.SOFTMAX_RESIDUAL, ""): lambda p, q: one_round(
        p, q, correct=lambda x: torch.softmax((p - q).clamp_min(0), 0)
    ),
    **{
        (Kind.LENIENCY, f"q × {c:g}"): lambda p, q, c=c: one_round(
            p, q, keep=lambda x: min(1.0, float(p[x] / (c * q[x])))
        )
        for c in (0.9, 0.7, 0.4)
    },
    **{
        (Kind.DRAWN_OTHERWISE, f"× {t:g}"): lambda p, q, t=t: one_round(p, q, drawn=power(q, 1 / t))
        for t in (0.5, 0.7, 0.9, 1.2)
    },
    (Kind.FIXED_CORRECTION, "of the residual"): lambda p, q: one_round(
        p, q, correct=lambda x: only(int(left_over(p, q).argmax()), len(p))
    ),
    (Kind.FIXED_CORRECTION, "of the target"): lambda p, q: one_round(
        p, q, correct=lambda x: only(int(p.argmax()), len(p))
    ),
    (Kind.LEAKING_CORRECTION, "uniform"): lambda p, q: one_round(
        p, q, correct=lambda x: torch.ones_like(p)
    ),
    (Kind.LEAKING_CORRECTION, "the draft model's"): lambda p, q: one_round(
        p, q, correct=lambda x: q
    ),
    (Kind.DRAFTS_LAW, ""): lambda p, q: one_round(p, q, keep=lambda x: 1.0),
}


@pytest.mark.parametrize(("kind", "strength"), PROCEDURES)
@fewer
@given(pair=laws())
def test_a_named_law_is_that_of_the_procedure(kind, strength, pair):
    p, q = pair
    check(alternative(kind, strength).joint(at(p, q)), PROCEDURES[kind, strength](p, q))


WITH_MORE_LAWS = {
    (Kind.FILTERS_ON_ONE_SIDE, "acceptance"): lambda p, q, r: (
        {"unfiltered_target": r},
        one_round(p, q, keep=lambda x: min(1.0, float(r[x] / q[x]))),
    ),
    (Kind.FILTERS_ON_ONE_SIDE, "correction"): lambda p, q, r: (
        {"unfiltered_target": r},
        one_round(p, q, correct=lambda x: left_over(r, q)),
    ),
    (Kind.LEAKING_CORRECTION, "the target's raw one"): lambda p, q, r: (
        {"raw_target": r},
        one_round(p, q, correct=lambda x: r),
    ),
    (Kind.LEAKING_CORRECTION, "one position earlier"): lambda p, q, r: (
        {"previous_target": r},
        one_round(p, q, correct=lambda x: r),
    ),
    (Kind.UNFILTERED, ""): lambda p, q, r: ({"unfiltered_target": r}, one_round(r, q)),
    (Kind.RAW, ""): lambda p, q, r: ({"raw_target": r}, one_round(r, q)),
    (Kind.PREVIOUS_ROW, ""): lambda p, q, r: ({"previous_target": r}, one_round(r, q)),
}


@pytest.mark.parametrize(("kind", "strength"), WITH_MORE_LAWS)
@fewer
@given(three=laws(count=3))
def test_a_law_of_a_missing_step_is_that_of_the_procedure(kind, strength, three):
    others, expected = WITH_MORE_LAWS[kind, strength](*three)
    check(alternative(kind, strength).joint(at(three[0], three[1], **others)), expected)


FORMS = list(itertools.product((Form.SOFT, Form.RAW, Form.POINT), repeat=2))
FORMS = [(*forms, corrected) for forms in FORMS for corrected in Form]


def of_forms(p, q, r, drawn, coin, corrected):
    """One round of which each place reads q in a form of its own; r is the raw q."""
    laws = {Form.SOFT: q, Form.RAW: r}

    def keep(x):
        if coin is Form.POINT:
            return float(p[x])
        scored = laws[coin]
        return min(1.0, float(p[x] / scored[x])) if scored[x] > 0 else 1.0

    def correct(x):
        if corrected in laws:
            return left_over(p, laws[corrected])
        return p if corrected is Form.NOTHING or p[x] == 1 else without(p, x)

    law = only(int(q.argmax()), len(q)) if drawn is Form.POINT else laws[drawn]
    return one_round(p, q, drawn=law, keep=keep, correct=correct)


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: ", ".join(forms))
@fewer
@given(three=laws(count=3))
def test_every_form_of_q_in_every_place(forms, three):
    position = at(three[0], three[1], raw_draft=three[2])
    check(read_from(*forms)(position, position.q), of_forms(*three, *forms))


@pytest.mark.parametrize("coin", [Form.SOFT, Form.RAW, Form.POINT])
@pytest.mark.parametrize("corrected", Form)
@fewer
@given(three=laws(count=3))
def test_every_form_of_q_where_the_drafted_token_is_known(coin, corrected, three):
    """The declared rule is the point-mass one, and the draft model's law is read all the same."""
    p, q, r = three
    x = int(q.argmax())
    known = {"rule": DeclaredRule.POINT_MASS, "proposals": (x,), "raw_draft": r}
    position = at(p, q, **known)
    expected = of_forms(p, q, r, Form.POINT, coin, corrected)
    check(read_from(Form.POINT, coin, corrected)(position, position.q), expected)


def test_every_form_in_every_place_is_an_alternative_unless_nothing_is_wrong():
    """What is no alternative to the output leaves p; every other mixture of forms is one."""
    generator = np.random.default_rng(4)
    three = [torch.tensor(generator.dirichlet(np.ones(4))) for _ in range(3)]
    position = at(three[0], three[1], raw_draft=three[2])
    known = defaultdict(set)
    for each in ALTERNATIVES:
        known[tuple(np.round(np.concatenate(each.joint(position)), 12))] |= each.streams
    for forms in FORMS:
        law = read_from(*forms)(position, position.q)
        is_right = np.abs(law.token - position.p).max() < EXACT
        if is_right and np.abs(law.accepted - position.null.accepted).max() < EXACT:
            continue
        streams = known[tuple(np.round(np.concatenate(law), 12))]
        assert Stream.DRAFTED in streams, forms
        assert is_right or Stream.UNKNOWN in streams, forms


@fewer
@given(pair=laws())
def test_the_two_most_probable_tokens_exchanged(pair):
    p, q = pair
    first, second = np.argsort(-p.numpy(), kind="stable")[:2]
    exchanged = p.clone()
    exchanged[[first, second]] = p[[second, first]]
    check(alternative(Kind.EXCHANGED).joint(at(p, q)), one_round(exchanged, q))


@pytest.mark.parametrize("temperature", [0.5, 0.8, 0.9, 1.1, 1.25, 2])
@fewer
@given(pair=laws())
def test_a_target_at_another_temperature(temperature, pair):
    p, q = pair
    warm = power(p, 1 / temperature)
    expected = one_round(warm / warm.sum(), q)
    check(alternative(Kind.TEMPERED, f"× {temperature:g}").joint(at(p, q)), expected)


@fewer
@given(pair=laws())
def test_an_argmax_and_a_uniform_draw_in_place_of_p(pair):
    p, q = pair
    expected = one_round(only(int(p.argmax()), len(p)), q)
    check(alternative(Kind.ARGMAX).joint(at(p, q)), expected)
    expected = one_round(torch.full_like(p, 1 / len(p)), q)
    check(alternative(Kind.UNIFORM).joint(at(p, q)), expected)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5])
@fewer
@given(pair=laws())
def test_draft_tokens_dropped_after_they_were_drawn(threshold, pair):
    p, q = pair
    kept_draft = torch.where(q >= threshold, q, 0 * q)
    share = float(kept_draft.sum())
    if share == 0:
        return
    verified = one_round(p, q, drawn=kept_draft)
    strength = f"below {threshold:g}"
    check(alternative(Kind.DROPPED_DRAFT, strength).joint(at(p, q)), verified)
    unseen = alternative(Kind.DROPPED_DRAFT, f"{strength}, unseen").joint(at(p, q))
    expected = share * verified.sum(axis=0) + (1 - share) * p.numpy()
    np.testing.assert_allclose(unseen.token, expected, atol=EXACT)


@fewer
@given(pair=laws())
def test_one_uniform_for_coin_and_correction(pair):
    """Every interval of the uniform in which nothing changes, added up one after another."""
    p, q = (law.tolist() for law in pair)
    size, left = len(p), left_over(*pair)
    ends = (torch.cumsum(left, 0) / left.sum()).tolist()
    ends[-1] = 1.0
    rows = np.zeros((2, size))
    for x in range(size):
        keep = min(1.0, p[x] / q[x]) if q[x] > 0 else 1.0
        rows[0, x] += q[x] * keep
        marks = sorted({keep, 1.0, *(end for end in ends if keep < end < 1)})
        for low, high in itertools.pairwise(marks):
            middle = (low + high) / 2
            token = next(y for y in range(size) if ends[y] > middle)
            rows[1, token] += q[x] * (high - low)
    check(alternative(Kind.REUSED_DRAW).joint(at(*pair)), rows)


@fewer
@given(pair=laws(), coin=st.floats(0.05, 1))
def test_one_coin_for_a_step(pair, coin):
    """A uniform below `coin` is compared with the ratio."""
    p, q = pair
    expected = one_round(
        p,
        q,
        keep=lambda x: min(coin, 1.0, float(p[x] / q[x])) / coin if q[x] > 0 else 1.0,
    )
    check(alternative(Kind.ONE_COIN).joint(at(p, q, coin=coin)), expected)


# The null laws, by enumeration of the rules that ship ------------------------------------------


@fewer
@given(pair=laws())
def test_the_null_law_of_rejection_is_the_rules(pair):
    p, q = pair

    def procedure(randomness):
        x = randomness.categorical(q, Purpose.DRAFT)
        tree = DraftTree(token_ids=(x,), parents=(-1,), law=ProposalLaw.INDEPENDENT)
        draft = Draft(tree=tree, rows=(0,), logits=q[None].log(), probabilities=q[None])
        made = RejectionRule().accept(draft, torch.stack([p, p]), randomness)
        return (True, x) if made.path else (False, made.extra_token)

    check(at(p, q).null, enumerated(procedure, len(p)))


@fewer
@given(pair=laws(count=1), count=st.integers(1, 3))
def test_the_null_law_of_known_proposals_is_the_point_mass_rules(pair, count):
    (p,) = pair
    proposals = tuple(range(min(count, len(p) - 1)))
    if float(p[list(proposals)].sum()) in (0.0, 1.0):
        return

    def procedure(randomness):
        tree = DraftTree(
            token_ids=proposals, parents=(-1,) * len(proposals), law=ProposalLaw.DETERMINISTIC
        )
        rows = torch.stack([p] * (len(proposals) + 1))
        made = PointMassRule().accept(Draft(tree=tree), rows, randomness)
        if made.path:
            return True, proposals[made.path[0]]
        return False, made.extra_token

    position = at(p, None, rule=DeclaredRule.POINT_MASS, proposals=proposals)
    check(position.null, enumerated(procedure, len(p)))
    check(position.lift(position.p), enumerated(procedure, len(p)))


@fewer
@given(pair=laws())
def test_the_null_law_of_a_match_is_that_of_both_ways_to_match(pair):
    p, q = pair

    def same_draw(randomness):
        x = randomness.categorical(q, Purpose.DRAFT)
        y = randomness.categorical(p, Purpose.CORRECTION)
        return x == y, y

    null = at(p, q, rule=DeclaredRule.MATCH).null
    check(null, enumerated(same_draw, len(p)))
    one_hot_rule = one_round(p, q, keep=lambda x: float(p[x]), correct=lambda x: without(p, x))
    check(null, one_hot_rule)


# What validity rests on ------------------------------------------------------------------------


@pytest.mark.parametrize("rule", DeclaredRule)
@fewer
@given(four=laws(count=4), coin=st.floats(0.05, 1), known=st.booleans())
def test_every_alternative_is_a_law_whatever_p_and_q_are(rule, four, coin, known):
    p, q, r, s = four
    position = at(
        p,
        q if known else None,
        rule=rule,
        unfiltered_target=r,
        raw_target=s,
        raw_draft=r if known else None,
        previous_target=s,
        proposals=(0,),
        coin=coin,
    )
    for each in ALTERNATIVES:
        law = np.stack(each.joint(position))
        assert law.min() >= 0, each.name
        assert math.isclose(law.sum(), 1, abs_tol=EXACT), each.name
