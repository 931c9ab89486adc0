"""Evidence on sampled outputs: every lossless rule passes, and a faulty one is named."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tables import adversarial, pair_from

from draftproof.acceptance import make_rule
from draftproof.acceptance.rejection import RejectionRule
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import make_drafter
from draftproof.engines.law_test import evidence_of, law_tolerance
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.sites import places
from draftproof.laws import valid_rules
from draftproof.lossless.evidence import Evidence, Site
from draftproof.lossless.evidence.verdict import LawVerdict, judge
from draftproof.randomness import Purpose, SeededRandomness
from draftproof.recording import StepRecorder, StepSeconds
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping

PAIRS = list(adversarial().values())
SAMPLING = Sampling(temperature=1.0)


def request(case, sampling=SAMPLING, new=40):
    return Request(
        request_id=str(case),
        prompt_token_ids=(0, 1),
        sampling=sampling,
        stopping=Stopping(max_new_tokens=new),
        seed=7,
    )


def speculated(asked, target, draft, shape, rule):
    recorder = StepRecorder(lambda: StepSeconds(0.0, 0.0))
    output = speculate(
        asked.prompt_token_ids,
        target,
        make_drafter(shape, draft),
        rule,
        sampling=asked.sampling,
        stopping=asked.stopping,
        randomness=SeededRandomness(asked.seed, asked.request_id),
        observe=recorder,
    )
    return Generation(
        token_ids=output.token_ids,
        stop_reason=str(output.stop_reason),
        seconds=0.0,
        steps=recorder.steps,
        nodes=recorder.nodes,
    )


def verdict(shape, rule, *, cases=6, sampling=SAMPLING, name=None, drafted_by=None):
    """The decision on a rule over the adversarial tables; its false-alarm rate is 1e-4."""
    shape = parse_tree(shape)
    evidence = []
    for case in range(cases):
        target, draft = pair_from(*PAIRS[case % len(PAIRS)])
        asked = request(case, sampling)
        generation = speculated(asked, target, drafted_by or draft, shape, rule)
        evidence.append(evidence_of(generation, asked, target, draft, rule=name or rule.name))
    return judge(evidence)


SHAPES = ("chain:3", "2x2", "sampled:2x2", "distinct:2x2", "best-first:4", "lookup:3")


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        (shape, rule)
        for shape in SHAPES
        for rule in valid_rules(
            parse_tree(shape).law, is_chain=parse_tree(shape).is_chain, is_greedy=False
        )
        if rule != "typical"
    ],
)
def test_a_lossless_rule_is_consistent_whatever_the_draft(shape, rule):
    found = verdict(shape, make_rule(rule, parse_tree(shape), is_greedy=False))
    assert found.verdict is LawVerdict.CONSISTENT, found
    assert found.declared.log_e < math.log(1e4)


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.7), Sampling(temperature=1.3, top_k=2)]
)
def test_temperature_and_filters_reach_both_laws(sampling):
    rule = RejectionRule()
    assert verdict("chain:3", rule, sampling=sampling).verdict is LawVerdict.CONSISTENT


class NoResidual(RejectionRule):
    """After a rejection it draws from p again."""

    def accept(self, draft, target_probs, randomness):
        kept = super().accept(draft, target_probs, randomness)
        if len(kept.path) == len(draft.tree):
            return kept
        row = kept.path[-1] + 1 if kept.path else 0
        return replace(
            kept, extra_token=randomness.categorical(target_probs[row], Purpose.CORRECTION)
        )


def test_a_missing_residual_is_rejected_and_pointed_to():
    found = verdict("chain:3", NoResidual(), cases=24)
    assert found.verdict is LawVerdict.OUTPUT
    assert any("residual" in pointer.name for pointer in found.pointers), found.pointers


def test_typical_acceptance_is_rejected():
    rule = make_rule("typical", parse_tree("2x2"), is_greedy=False)
    assert verdict("2x2", rule, cases=12).verdict is LawVerdict.OUTPUT


def drafted_by_another(change=lambda generation: generation):
    """Lossless: the rule knows what was drawn from, and the judge has another draft model."""
    uniform, _ = pair_from(torch.full((3,), 1 / 3).double(), torch.full((3,), 1 / 3).double())
    evidence = []
    for case in range(40):
        target, draft = pair_from(*PAIRS[0])
        asked = request(case)
        generation = speculated(asked, target, uniform, parse_tree("chain:3"), RejectionRule())
        told = change(generation)
        evidence.append(evidence_of(told, asked, target, draft, rule="rejection"))
    return judge(evidence).verdict


def test_a_draft_drawn_from_another_law_than_told_shows_in_how_often_tokens_are_kept():
    def untold(generation):
        unknown = np.full(len(generation.nodes["step"]), np.nan)
        return replace(generation, nodes={**generation.nodes, "draft_probability": unknown})

    assert drafted_by_another(untold) is LawVerdict.ACCEPTANCE


def test_an_engine_that_tells_another_draft_law_is_judged_by_its_tokens():
    assert drafted_by_another() is LawVerdict.CONSISTENT


def test_plain_decoding_is_consistent_and_another_temperature_is_not():
    evidence, hotter = [], []
    for case in range(24):
        target, draft = pair_from(*PAIRS[case % len(PAIRS)])
        asked = request(case)
        output = plain_decode(
            asked.prompt_token_ids,
            target,
            sampling=asked.sampling,
            stopping=asked.stopping,
            randomness=SeededRandomness(3, asked.request_id),
        )
        plain = Generation(token_ids=output.token_ids, stop_reason="length", seconds=0.0)
        evidence.append(evidence_of(plain, asked, target, draft))
        other = replace(asked, sampling=Sampling(temperature=1.6))
        hotter.append(evidence_of(plain, other, target, draft))
    assert judge(evidence).verdict is LawVerdict.CONSISTENT
    assert judge(evidence, control=hotter).verdict is LawVerdict.SETTINGS
    assert Evidence.from_json(evidence[0].to_json()).to_json() == evidence[0].to_json()


def plainly_decoded(asked, target, sampling):
    """What an engine emits that was asked for `asked` and samples with other settings."""
    output = plain_decode(
        asked.prompt_token_ids,
        target,
        sampling=sampling,
        stopping=asked.stopping,
        randomness=SeededRandomness(3, asked.request_id),
    )
    return Generation(token_ids=output.token_ids, stop_reason="length", seconds=0.0)


@pytest.mark.parametrize(
    ("asked_for", "sampled_with"),
    [({"top_k": 1}, {"top_k": 2}), ({"top_k": 2}, {}), ({"min_p": 0.5}, {"min_p": 0.1})],
)
def test_a_filter_that_keeps_one_token_too_many_is_rejected(asked_for, sampled_with):
    """The most probable removed token passes by rounding only where it is near the edge."""
    evidence = []
    for case in range(6):
        target, draft = pair_from(torch.tensor([0.6, 0.25, 0.15]).double(), PAIRS[0][1])
        asked = request(case, Sampling(temperature=1.0, **asked_for))
        generation = plainly_decoded(asked, target, Sampling(temperature=1.0, **sampled_with))
        evidence.append(evidence_of(generation, asked, target, draft))
    assert judge(evidence).verdict is LawVerdict.OUTPUT


def test_an_engine_that_rounds_more_coarsely_than_the_judge_is_allowed_to():
    """What its rounding lets pass a filter of its own is no fault of it, where its type is told."""
    told, untold = [], []
    for case in range(6):
        near = torch.tensor([0.5, 0.245, 0.255]).double()
        # The engine's logits are off by up to 0.02: another token is its second.
        own = pair_from(torch.tensor([0.5, 0.255, 0.245]).double(), PAIRS[0][1])[0]
        target, draft = pair_from(near, PAIRS[0][1])
        asked = request(case, Sampling(temperature=1.0, top_k=2))
        generation = plainly_decoded(asked, own, asked.sampling)
        told.append(evidence_of(generation, asked, target, draft, engine_rounding=0.1))
        untold.append(evidence_of(generation, asked, target, draft))
    assert judge(told).verdict is LawVerdict.CONSISTENT
    assert judge(told).doubtful > 0
    assert judge(untold).output.impossible > 0


def at_an_edge(filters, off, temperature):
    """A law with the filter's edge in a near-tie, another whose logits are off, and the filter."""
    logits = np.array([0.8, 0.1, 0.1 - off / 2, -0.6, -1.0])
    law, moved = (
        torch.softmax(torch.tensor(each), -1)
        for each in (logits, logits + off * np.array([-1, -1, 1, -1, -1]))
    )
    scaled = torch.softmax(torch.tensor(logits) / temperature, -1)
    kept = scaled[:4] / scaled[:4].sum() if len(filters) > 1 else scaled
    values = {
        "top_k": 2 if len(filters) == 1 else 4,
        "top_p": float(kept[:2].sum()),
        "min_p": float(kept[1] / kept[0]),
    }
    sampling = Sampling(temperature=temperature, **{name: values[name] for name in filters})
    return law, moved, sampling


@pytest.mark.parametrize("speculates", [False, True])
@pytest.mark.parametrize(("off", "temperature"), [(0.02, 1.0), (0.25, 0.7)])
@pytest.mark.parametrize("filters", [("top_k",), ("top_p",), ("min_p",), ("top_k", "top_p")])
def test_a_right_engine_is_not_rejected_for_what_passes_its_filter(
    filters, off, temperature, speculates
):
    """Every context has its near-tie at the edge, and the engine is off by as much as it tells.

    A right engine is rejected with probability 1e-4 at most.
    """
    law, own, sampling = at_an_edge(filters, off, temperature)
    target, draft = pair_from(law, torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1]).double())
    engines_target = pair_from(own, own)[0]
    evidence = []
    for case in range(5):
        asked = request(case, sampling, new=30)
        if speculates:
            chain = parse_tree("chain:3")
            generation = speculated(asked, engines_target, draft, chain, RejectionRule())
        else:
            generation = plainly_decoded(asked, engines_target, sampling)
        told = {"rule": "rejection" if speculates else "", "engine_rounding": 2 * off}
        evidence.append(evidence_of(generation, asked, target, draft, **told))
    found = judge(evidence)
    assert found.verdict is LawVerdict.CONSISTENT, found
    assert found.doubtful > 0


@pytest.mark.parametrize(
    ("asked_for", "sampled_with"),
    [
        ({"top_k": 2}, {"top_k": 4}),
        ({"top_k": 2}, {}),
        ({"top_p": 0.7}, {"top_p": 0.95}),
        ({"min_p": 0.4}, {"min_p": 0.1}),
        ({"top_k": 3}, {"top_k": 3, "temperature": 0.4}),
    ],
)
def test_a_near_tie_at_the_edge_hides_no_other_filter_and_no_other_temperature(
    asked_for, sampled_with
):
    law = torch.tensor([0.36, 0.21, 0.205, 0.135, 0.09]).double()
    evidence = []
    for case in range(12):
        target, draft = pair_from(law, law)
        asked = request(case, Sampling(temperature=1.0, **asked_for))
        generation = plainly_decoded(asked, target, Sampling(**{"temperature": 1.0} | sampled_with))
        evidence.append(evidence_of(generation, asked, target, draft, engine_rounding=0.04))
    assert judge(evidence).verdict is LawVerdict.OUTPUT


def test_a_draft_probability_at_the_edge_of_its_filter_is_no_other_draft_law():
    """What an engine tells of q is compared with the judge's up to what its filter may change."""
    near, own = ([0.5, 0.255, 0.245], [0.5, 0.245, 0.255])
    evidence = []
    for case in range(6):
        target, draft = pair_from(PAIRS[0][0], torch.tensor(near).double())
        drafts = pair_from(torch.tensor(own).double(), torch.tensor(own).double())[0]
        asked = request(case, Sampling(temperature=1.0, top_k=2))
        generation = speculated(asked, target, drafts, parse_tree("chain:3"), RejectionRule())
        told = {"rule": "rejection", "engine_rounding": 0.1}
        evidence.append(evidence_of(generation, asked, target, draft, **told))
    found = judge(evidence)
    assert found.verdict is LawVerdict.CONSISTENT
    # How often tokens are kept is judged too: by tokens alone both tests would say the same.
    assert abs(found.declared.log_e - found.output.log_e) > 1e-3


def test_the_tolerance_is_that_of_the_coarser_model_and_of_the_temperature():
    class Half:
        model = torch.zeros(1, dtype=torch.bfloat16)

    whole = pair_from(*PAIRS[0])[0]
    assert law_tolerance((whole, whole), SAMPLING) == 1e-4
    assert law_tolerance((whole, Half()), SAMPLING) == 0.25
    assert law_tolerance((Half(), whole), Sampling(temperature=0.5)) == 0.5


def test_places_follow_the_kept_path_and_its_end():
    target, draft = pair_from(*PAIRS[0])
    asked = request("places")
    rule = make_rule("point-mass", parse_tree("2x2"), is_greedy=False)
    generation = speculated(asked, target, draft, parse_tree("2x2"), rule)
    found = places(generation, "point-mass")
    assert len(found) == len(generation.token_ids)
    assert found[0].site is Site.FIRST
    for token, place in zip(generation.token_ids, found, strict=True):
        if place.site is Site.ACCEPTED:
            assert token in place.proposals
        if place.site is Site.CORRECTION:
            assert token not in place.proposals
            assert len(place.proposals) == 2
        if place.site is Site.BONUS:
            assert place.proposals == ()
    assert {place.site for place in found} == set(Site) - {Site.UNKNOWN}
    assert {place.site for place in places(generation, "traversal")} == {Site.UNKNOWN}
    untold = replace(generation, nodes=None)
    assert {place.site for place in places(untold, "point-mass")} == {Site.UNKNOWN}
