"""Batched decoding is held to decoding of one sequence: row for row, draw for draw."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from tables import pairs

from draftproof.acceptance import make_rule
from draftproof.batch.decoding import Job, plain_decode_all, speculate_all
from draftproof.batch.drafters import make_batch_drafter
from draftproof.batch.draws import AheadRandomness, SeededDraws
from draftproof.batch.models import SeparateRows
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import make_drafter
from draftproof.laws import RULES, valid_rules
from draftproof.models.table import TableLM
from draftproof.randomness import SeededRandomness
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping

SHAPES = (
    "2x2",
    "3x1",
    "chain:3",
    "chain:3,stop=0.5",
    "none",
    "chain:4,gain=0.3,base=0.4,entropy=-0.3",
    "sampled:2x2",
    "distinct:2x2",
    "sampled:1x3",
    "static:[[0],[1],[0,0],[1,0],[0,0,0]]",
    "best-first:4,depth=3,branching=2",
    "lookup:3,ngram=2",
)


def copy_of(model):
    return TableLM(model._law, model.vocabulary_size, model.max_length)


@st.composite
def samplings(draw, greedy):
    return Sampling(
        temperature=0.0 if greedy else draw(st.sampled_from((1.0, 0.5, 1.7))),
        top_k=draw(st.sampled_from((0, 0, 1, 2))),
        top_p=draw(st.sampled_from((1.0, 1.0, 0.7))),
        min_p=draw(st.sampled_from((0.0, 0.0, 0.3))),
        repetition_penalty=draw(st.sampled_from((1.0, 1.0, 1.3))),
        min_new_tokens=draw(st.sampled_from((0, 0, 2))),
    )


@st.composite
def batches(draw):
    """A pair of table models, a shape and a rule that is valid for it, and ragged requests."""
    target, draft = draw(pairs(sizes=(2, 3, 4), positive=2))
    shape = parse_tree(draw(st.sampled_from(SHAPES)))
    greedy = draw(st.booleans())
    rules = [
        name
        for name in valid_rules(shape.law, is_chain=shape.is_chain, is_greedy=greedy)
        if RULES[name].lossless
    ]
    rule = draw(st.sampled_from(rules))
    size = target.vocabulary_size
    if draw(st.booleans()):
        draft = TableLM(draft._law, size, max_length=draw(st.integers(2, 9)))
    target = TableLM(target._law, size, max_length=draw(st.integers(8, 16)))
    requests = [
        (
            tuple(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))),
            draw(samplings(greedy)),
            Stopping(
                max_new_tokens=draw(st.integers(1, 8)),
                stop_token_ids=frozenset(draw(st.sets(st.just(0), max_size=1))),
            ),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]
    return target, draft, shape, rule, requests, draw(st.integers(1, 4))


def jobs_of(requests, seed):
    return [
        Job(
            prompt=prompt,
            sampling=sampling,
            stopping=stopping,
            randomness=AheadRandomness(SeededRandomness(seed, str(number))),
        )
        for number, (prompt, sampling, stopping) in enumerate(requests)
    ]


def seeded(rows):
    return SeededDraws(rows, torch.device("cpu"))


def limited(stopping, prompt, target):
    room = target.max_length - len(prompt)
    return replace(stopping, max_new_tokens=min(stopping.max_new_tokens, room))


@given(batches(), st.integers(0, 3))
def test_every_row_is_decoded_as_it_would_be_alone(batch, seed):
    target, draft, shape, rule, requests, most_rows = batch
    requests = [(p, s, limited(stop, p, target)) for p, s, stop in requests]
    jobs = jobs_of(requests, seed)
    steps = {index: [] for index in range(len(jobs))}

    def observe(step):
        for row, tree, kept, committed in zip(
            step.rows, step.trees, step.acceptances, step.committed, strict=True
        ):
            steps[row.index].append((tree, kept, committed))

    outputs = dict(
        speculate_all(
            jobs,
            SeparateRows(lambda: copy_of(target)),
            make_batch_drafter(shape, SeparateRows(lambda: copy_of(draft))),
            rule,
            make_draws=seeded,
            most_rows=most_rows,
            observe=observe,
        )
    )
    assert sorted(outputs) == list(range(len(jobs)))
    for index, (prompt, sampling, stopping) in enumerate(requests):
        alone = SeededRandomness(seed, str(index))
        expected = []
        output = speculate(
            prompt,
            copy_of(target),
            make_drafter(shape, copy_of(draft)),
            make_rule(rule, shape, is_greedy=sampling.greedy),
            sampling=sampling,
            stopping=stopping,
            randomness=alone,
            observe=lambda step, committed, expected=expected: expected.append(
                (step.draft.tree, step.acceptance, committed)
            ),
        )
        assert steps[index] == expected
        assert outputs[index] == output
        assert +jobs[index].randomness.draws == +alone.draws


@given(batches(), st.integers(0, 3))
def test_every_row_is_decoded_plainly_as_it_would_be_alone(batch, seed):
    target, _, _, _, requests, most_rows = batch
    requests = [(p, s, limited(stop, p, target)) for p, s, stop in requests]
    jobs = jobs_of(requests, seed)
    outputs = dict(
        plain_decode_all(
            jobs, SeparateRows(lambda: copy_of(target)), make_draws=seeded, most_rows=most_rows
        )
    )
    for index, (prompt, sampling, stopping) in enumerate(requests):
        alone = SeededRandomness(seed, str(index))
        assert outputs[index] == plain_decode(
            prompt, copy_of(target), sampling=sampling, stopping=stopping, randomness=alone
        )
        assert jobs[index].randomness.draws == alone.draws
