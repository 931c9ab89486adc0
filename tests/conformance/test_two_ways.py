"""Rows and single sequences on small models: faults of either way show, and sound ones do not."""

from dataclasses import replace

import numpy as np
import pytest

from draftproof.config import RunConfig, Sampling
from draftproof.conformance import single_checks
from draftproof.conformance.check_result import Status
from draftproof.conformance.making import make_subject
from draftproof.conformance.single_checks import different, draws_problems, rows_and_single
from draftproof.conformance.small_models import VOCABULARY, small_pairs
from draftproof.engines.protocol import Generation
from draftproof.engines.rows import RowDecoding
from draftproof.randomness import Draw, Purpose, SeededRandomness
from draftproof.shapes import parse_tree


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(tree=parse_tree("3x2"), sampling=Sampling(temperature=1.0))
    return make_subject(config, prompts=1, report=lambda line: None)


@pytest.fixture
def few(monkeypatch):
    """A shape beside the subject's own, which have every way of going wrong that is tested here."""
    monkeypatch.setattr(single_checks, "SHAPES", ("sampled:2x2",))


def answers_changed(monkeypatch, change):
    sound = RowDecoding.speculate

    def speculate(self, requests, most_rows):
        for index, answer in sound(self, requests, most_rows):
            yield index, change(answer)

    monkeypatch.setattr(RowDecoding, "speculate", speculate)


def test_sound_decoding_passes_and_meets_its_conditions(subject, few):
    found = rows_and_single(subject)
    assert found.status is Status.PASSED
    assert found.lines[0].startswith("how often its conditions were met: drafted tokens kept ")
    assert found.facts["drafted tokens kept"] > 0
    assert found.facts["tokens beyond a window"] > 0
    never = [what for what, count in found.facts.items() if not count]
    assert [line for line in found.lines if line.startswith("never met: ")] == (
        [f"never met: {', '.join(never)}"] if never else []
    )


def shifted(columns, name):
    return {**columns, name: columns[name] + 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: replace(a, token_ids=(*a.token_ids[:-1], 0)), "in rows the output is"),
        (lambda a: replace(a, stop_reason="length!"), "in rows its stop_reason is length!"),
        (lambda a: replace(a, draws={**a.draws, "accept": 99}), "in rows it draws"),
        (lambda a: replace(a, nodes=shifted(a.nodes, "target_rank")), "target_rank is"),
        (lambda a: replace(a, steps=shifted(a.steps, "depth")), "of its steps, depth is"),
    ],
)
def test_a_difference_is_named(subject, few, monkeypatch, change, says):
    answers_changed(monkeypatch, change)
    found = rows_and_single(replace(subject, to_the_end=True))
    assert found.status is Status.FAILED
    assert says in found.lines[0]
    assert "with the rule" in found.lines[0]


def numbered(numbers, purpose=Purpose.ACCEPT):
    return [
        Draw(purpose=purpose, index=index, uniform=float(u), outcome=0, probability=0.5)
        for index, u in enumerate(numbers)
    ]


def test_the_numbers_behind_draws_are_looked_at():
    numbers = np.random.default_rng(5).random(400)
    assert not list(draws_problems(numbered(numbers)))
    repeated = [*numbered(numbers), *numbered(numbers[:1], Purpose.DRAFT)]
    [problem] = draws_problems(repeated)
    assert problem.startswith("draw 400 (draft) is decided by the number")
    assert "that decided draw 0 (accept)" in problem
    assert "are not uniform" in next(iter(draws_problems(numbered(numbers**2))))
    alike = np.stack([numbers, numbers + 1e-9 * (1 - numbers)], 1).ravel()
    assert list(draws_problems(numbered(alike))) == [
        "numbers that decide draws one after another depend on one another"
    ]
    mirrored = [*numbered(numbers), *numbered(1 - numbers, Purpose.DRAFT)]
    assert list(draws_problems(mirrored)) == [
        "numbers that decide draws of two purposes depend on one another"
    ]


@pytest.mark.parametrize("mode", ["twice", "of every request"])
def test_numbers_that_are_used_again_are_found(subject, few, monkeypatch, mode):
    sound = SeededRandomness.uniform

    def uniform(self, purpose):
        if mode == "of every request":
            self._seed, self._case_id = 0, ""
            return sound(self, purpose)
        kept = self.__dict__.setdefault("kept", {})
        if purpose not in kept:
            kept[purpose] = sound(self, purpose)
            return kept[purpose]
        return kept.pop(purpose)

    monkeypatch.setattr(SeededRandomness, "uniform", uniform)
    found = rows_and_single(subject)
    assert found.status is Status.FAILED
    assert "numbers are used again" in found.lines[0]


def test_seconds_may_differ_and_missing_columns_may_not(subject):
    steps = {"step": np.arange(2), "draft_seconds": np.zeros(2)}
    one = Generation(
        token_ids=(1, 2), stop_reason="length", seconds=1.0, steps=steps, nodes={}, draws={}
    )
    later = {**steps, "draft_seconds": np.ones(2)}
    assert different(one, replace(one, steps=later)) == ""
    assert different(one, replace(one, steps=None)) == "of its steps, none are told"
    longer = {name: np.append(column, 7) for name, column in steps.items()}
    assert "there are 2 in rows, and 3" in different(one, replace(one, steps=longer))


def test_an_engine_of_ones_own_is_not_available(subject):
    found = rows_and_single(replace(subject, make=lambda pair, config: None))
    assert found.status is Status.NOT_AVAILABLE


def test_small_models_are_the_same_each_time_and_have_what_they_say(subject):
    once, again = dict(small_pairs(subject.pair)), dict(small_pairs(subject.pair))
    context = list(range(12))
    for kind, pair in once.items():
        for role in ("target", "draft"):
            one, two = getattr(pair, role), getattr(again[kind], role)
            assert (one.recompute(context) == two.recompute(context)).all()
            assert one.vocabulary_size == VOCABULARY
    sliding, reduced = once.values()
    changed = [5, *context[1:]]
    assert (sliding.target.recompute(context)[-1] == sliding.target.recompute(changed)[-1]).all()
    assert (reduced.target.recompute(context)[-1] != reduced.target.recompute(changed)[-1]).any()
    assert not reduced.draft.recompute(context)[-1, 20:].isfinite().any()
    assert reduced.target.model.config.vocab_size > VOCABULARY
