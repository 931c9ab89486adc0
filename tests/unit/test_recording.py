"""Each recorded fact against a slow, independent computation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOCABULARY, ScriptedDrafter, tiny_lm, trees

from draftproof.acceptance import GreedyRule, PointMassRule, RejectionRule, make_rule
from draftproof.config import Sampling
from draftproof.decoding import speculate
from draftproof.drafting import make_drafter
from draftproof.laws import RULES, valid_rules
from draftproof.randomness import SeededRandomness
from draftproof.recording import (
    StepRecorder,
    StepSeconds,
    acceptance_probability,
    choice_facts,
    overlaps,
)
from draftproof.shapes import ChainShape, KAryShape, parse_tree
from draftproof.statistics.identities import check_identities
from draftproof.stopping import Stopping
from draftproof.trace import CaseRecord, DecodedOutput, Verdict

PROMPT = [1, 3, 2]


def rule_for(drafter, sampling):
    if sampling.greedy:
        return GreedyRule()
    return PointMassRule() if drafter.law == "deterministic" else RejectionRule()


def record(drafter, target, sampling, max_new_tokens=12, rule=None):
    recorder = StepRecorder(lambda: StepSeconds(0.5, 0.25))
    output = speculate(
        PROMPT,
        target,
        drafter,
        rule or rule_for(drafter, sampling),
        sampling=sampling,
        stopping=Stopping(max_new_tokens=max_new_tokens),
        randomness=SeededRandomness(0, "recording"),
        observe=recorder,
    )
    return output, recorder.steps, recorder.nodes


def law(model, tokens, temperature, penalty):
    """Softmax in plain Python, at temperature 0 unscaled, and the model's own logits."""
    logits = [float(x) for x in model.recompute(tokens)[-1]]
    weighed = [
        (x / penalty if x > 0 else x * penalty) if token in tokens else x
        for token, x in enumerate(logits)
    ]
    weights = [math.exp(x / (temperature or 1.0)) for x in weighed]
    return [weight / sum(weights) for weight in weights], logits


@pytest.mark.parametrize(("temperature", "penalty"), [(0.0, 1.0), (0.7, 1.0), (0.7, 1.4)])
@pytest.mark.parametrize("shape", [ChainShape(3), KAryShape(3, 2)])
def test_every_fact_of_every_node(shape, temperature, penalty):
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty)
    target, draft = tiny_lm(1), tiny_lm(2)
    output, steps, nodes = record(make_drafter(shape, draft), target, sampling)
    sequence = [*PROMPT, *output.token_ids]
    for i in range(len(nodes["node"])):
        step = nodes["step"][i]
        own = {nodes["node"][j]: j for j in np.flatnonzero(nodes["step"] == step)}
        above = []
        parent = nodes["parent"][i]
        while parent != -1:
            above.append(int(nodes["token_id"][own[parent]]))
            parent = nodes["parent"][own[parent]]
        context = sequence[: steps["root_position"][step] + 1] + above[::-1]
        assert nodes["depth"][i] == len(above) + 1
        assert nodes["position"][i] == len(context)
        token = nodes["token_id"][i]
        p, p_logits = law(target, context, temperature, penalty)
        q, q_logits = law(draft, context, temperature, penalty)
        assert nodes["target_probability"][i] == pytest.approx(p[token], rel=1e-5)
        assert nodes["draft_probability"][i] == pytest.approx(q[token], rel=1e-5)
        assert nodes["acceptance_probability"][i] == pytest.approx(
            min(1, p[token] / q[token]), rel=1e-5
        )
        assert nodes["overlap"][i] == pytest.approx(sum(map(min, p, q)), rel=1e-5)
        for name, probabilities in (("target_entropy", p), ("draft_entropy", q)):
            entropy = -sum(x * math.log(x) for x in probabilities)
            assert nodes[name][i] == pytest.approx(entropy, rel=1e-5)
        assert nodes["target_rank"][i] == sum(x > p_logits[token] for x in p_logits)
        assert nodes["draft_rank"][i] == sum(x > q_logits[token] for x in q_logits)


@given(st.lists(trees(), min_size=1, max_size=3))
@settings(max_examples=20)
def test_step_identities_hold_for_any_tree(script):
    output, steps, nodes = record(ScriptedDrafter(script), tiny_lm(1), Sampling(temperature=0.0))
    assert steps["nodes"].sum() == len(nodes["node"])
    assert steps["accepted_length"].sum() == nodes["accepted"].sum()
    assert steps["committed_tokens"].sum() == len(output.token_ids) - 1
    assert (steps["committed_tokens"][:-1] == steps["accepted_length"][:-1] + 1).all()
    assert (nodes["accepted"] <= nodes["reached"]).all()
    assert np.isnan(nodes["draft_probability"]).all()
    assert (nodes["draft_rank"] == -1).all()
    np.testing.assert_array_equal(np.diff(steps["root_position"]), steps["committed_tokens"][:-1])


def test_the_overlap_of_two_rows_is_the_sum_of_the_smaller_probabilities():
    p = torch.tensor([[0.1, 0.2, 0.7], [0.7, 0.1, 0.2]])
    q = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])
    found = overlaps(p, q, [1, 0, 1, 0], [0, 0, 1, 0]).tolist()
    assert found == pytest.approx([0.8, 0.55, 0.2, 0.55])


def test_rank_0_is_the_argmax_also_where_logits_are_equal():
    logits = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0]], dtype=torch.bfloat16)
    facts = choice_facts(logits, logits.float().softmax(-1), [0] * 5, range(VOCABULARY))
    assert facts.rank.tolist() == [3, 0, 1, 2, 4]
    assert int(logits.argmax()) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (name, text)
        for text in ("chain:3", "3x2", "sampled:2x2", "distinct:2x3", "best-first:5", "lookup:3")
        for shape in [parse_tree(text)]
        for name in valid_rules(shape.law, is_chain=shape.is_chain, is_greedy=True)
    ],
)
def test_what_every_rule_leaves_keeps_the_identities(name, text):
    """Among them: what a rule has looked at fits the facts of `draftproof.laws`."""
    shape = parse_tree(text)
    sampling = Sampling(temperature=0.0 if RULES[name].greedy_only else 1.0)
    drafter = make_drafter(shape, tiny_lm(2))
    rule = make_rule(name, shape, is_greedy=sampling.greedy)
    output, steps, nodes = record(drafter, tiny_lm(1), sampling, 20, rule)
    decoded = DecodedOutput(token_ids=output.token_ids, stop_reason="length", seconds=99.0)
    case = CaseRecord(
        case_id="a/0",
        domain="a",
        prompt_tokens=len(PROMPT),
        verdict=Verdict.IDENTICAL if sampling.greedy else Verdict.SAMPLED,
        plain=decoded,
        speculative=decoded,
        steps=steps,
        nodes=nodes,
    )
    assert len(steps["step"]) > 4
    assert check_identities(case, top_down=RULES[name].top_down) == []


def test_the_acceptance_probability_at_the_ends_of_p_and_q():
    p, q = np.array([0.5, 0.2, 0.3, 0.0]), np.array([0.25, 0.8, 0.0, 0.0])
    np.testing.assert_array_equal(acceptance_probability(p, q), [1.0, 0.25, 1.0, np.nan])


def test_facts_of_unequal_numbers_of_rows_are_refused():
    rows = torch.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="zip"):
        overlaps(rows, rows, [0, 1], [0])
    with pytest.raises(ValueError, match="2 tokens and 1 rows"):
        choice_facts(rows.log(), rows, [0], [0, 1])
