"""Conditions that usual requests do not meet: sound engines pass, and faults are seen."""

from dataclasses import replace

import numpy as np
import pytest

from draftproof import randomness
from draftproof.acceptance.rejection import RejectionRule
from draftproof.batch import draws
from draftproof.config import RunConfig, Sampling
from draftproof.conformance import edge_draws, exact_checks
from draftproof.conformance.check_result import Status
from draftproof.conformance.edge_draws import EdgeDraws
from draftproof.conformance.history_checks import (
    cancelled_requests,
    extended_prompts,
    several_ends,
)
from draftproof.conformance.independence import evidence_against, from_laws, independent_tokens
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.rows import RowDecoding
from draftproof.randomness import SeededRandomness, UniformRandomness
from draftproof.shapes import parse_tree


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(
        tree=parse_tree("chain:3"), max_new_tokens=14, sampling=Sampling(temperature=1.0)
    )
    return make_subject(config, prompts=1, report=lambda line: None)


@pytest.fixture(autouse=True)
def _few_cases(monkeypatch):
    monkeypatch.setattr(edge_draws, "_SHAPES", ("sampled:1x2",))
    monkeypatch.setattr(exact_checks, "_SHAPES", ("chain:2",))


class KnowsThePrefix(ReferenceEngine):
    """Goes on from the answer to a prompt that this one extends, one token late."""

    def speculate(self, request):
        seen = self.__dict__.setdefault("seen", {})
        prompt = request.prompt_token_ids
        for length in range(len(prompt) - 1, 0, -1):
            if prompt[:length] in seen:
                request = replace(request, prompt_token_ids=prompt[:length] + prompt[length + 1 :])
                break
        seen[prompt] = True
        return super().speculate(request)


class FirstStopOnly(ReferenceEngine):
    """Takes one stop token of several, and one stop string."""

    def speculate(self, request):
        stopping = request.stopping
        ids, texts = sorted(stopping.stop_token_ids), stopping.stop_strings
        stopping = replace(
            stopping, stop_token_ids=frozenset(ids[-1:]), stop_strings=tuple(texts[:1])
        )
        return super().speculate(replace(request, stopping=stopping))


@pytest.mark.parametrize("check", [extended_prompts, several_ends, cancelled_requests])
def test_the_reference_engine_passes(subject, check):
    found = check(subject)
    assert found.status is Status.PASSED, found.lines
    assert found.places > 0


@pytest.mark.parametrize(
    ("check", "engine"), [(extended_prompts, KnowsThePrefix), (several_ends, FirstStopOnly)]
)
def test_a_fault_under_a_condition_is_seen(subject, check, engine):
    found = check(replace(subject, make=engine))
    assert found.status is Status.FAILED


def test_what_a_cancelled_batch_leaves_is_seen(subject, monkeypatch):
    """Its rows stay in the caches, and are there when the next batch begins."""
    sound = RowDecoding._sides

    def keeps_rows(self):
        manager = sound(self)

        class Leaves:
            def __enter__(self):
                return manager.__enter__()

            def __exit__(self, *error):
                return manager.__exit__(None, None, None)

        return Leaves()

    monkeypatch.setattr(RowDecoding, "_sides", keeps_rows)
    [examined] = examine(replace(subject), ["cancelled requests"])
    assert examined.finding.status is Status.FAILED


def test_numbers_at_the_edge_pass_and_an_inclusive_coin_does_not(subject, monkeypatch):
    found = edge_draws.edge_draws(subject)
    assert found.status is Status.PASSED, found.lines
    assert all(found.facts[condition] > 0 for condition in edge_draws.CONDITIONS)

    def inclusive(self, probability, purpose):
        return self._counted(purpose) <= probability

    monkeypatch.setattr(UniformRandomness, "bernoulli", inclusive)
    found = edge_draws.edge_draws(subject)
    assert found.status is Status.FAILED
    assert "which has no probability there" in found.lines[0]


def test_a_certain_draft_must_be_kept(subject, monkeypatch):
    """A coin that is below 1 by rounding alone is lost to the largest number."""
    sound = EdgeDraws.bernoulli
    monkeypatch.setattr(
        EdgeDraws,
        "bernoulli",
        lambda self, probability, purpose: sound(self, probability - 2.0**-50, purpose),
    )
    found = edge_draws.edge_draws(subject)
    assert found.status is Status.FAILED
    assert any("certain to keep was rejected" in line for line in found.lines)


@pytest.mark.parametrize(
    ("place", "way"), [(randomness, "of 64 numbers"), (draws, "in a batch, of 64 numbers")]
)
def test_numbers_in_between_decide_tokens_in_proportion(subject, monkeypatch, place, way):
    """A number from the upper half is taken for one a little below it: nothing impossible comes."""
    name = "inverse_cdf" if place is randomness else "fixed_point"
    sound = getattr(place, name)

    def shifted(*given):
        numbers = np.asarray(given[-1], float)
        moved = np.where(numbers > 0.6, numbers - 0.1, numbers)
        return sound(*given[:-1], moved if numbers.ndim else float(moved))

    monkeypatch.setattr(place, name, shifted)
    found = edge_draws.edge_draws(subject)
    assert found.status is Status.FAILED
    assert all(line.startswith(way) for line in found.lines if "64 numbers" in line)
    assert any(line.startswith(way) for line in found.lines)


class NeverStops(RejectionRule):
    """Its message names where it is, and not only the name it shares with the built-in rule."""

    def accept(self, draft, target, randomness):
        raise RuntimeError("out of luck")


def test_a_rule_of_ones_own_is_named_by_its_place(subject):
    examined = replace(subject, rule=NeverStops(), to_the_end=True)
    for check in (exact_checks.exact_outputs, edge_draws.edge_draws):
        found = check(examined)
        assert found.status is Status.FAILED
        assert ":NeverStops" in found.lines[0], found.lines[0]


@pytest.mark.parametrize("mode", ["same number twice", "same numbers for each prompt"])
def test_numbers_that_are_used_again_are_seen(subject, monkeypatch, mode):
    sound = SeededRandomness.uniform
    if mode == "same number twice":

        def uniform(self, purpose):
            kept = self.__dict__.setdefault("kept", {})
            if purpose in kept:
                return kept.pop(purpose)
            kept[purpose] = sound(self, purpose)
            return kept[purpose]
    else:

        def uniform(self, purpose):
            self._case_id = ""
            return sound(self, purpose)

    # Where nothing is drafted, one number decides one token.
    config = replace(subject.config, max_new_tokens=40, tree=parse_tree("none"))
    assert independent_tokens(replace(subject, config=config)).status is Status.PASSED
    monkeypatch.setattr(SeededRandomness, "uniform", uniform)
    found = independent_tokens(replace(subject, config=config))
    assert found.status is Status.FAILED
    assert found.lines[0].startswith("draws depend on one another")


def simulated(seed, mode):
    """Six prompts under two seeds, 32 tokens each, drawn by cumulative sums or by largest noise."""
    numbers, outputs = np.random.default_rng(seed), []
    shared = numbers.random(32)
    largest = numbers.gumbel(size=(32, 50))
    for _ in range(6):
        answers = []
        for nth in range(2):
            laws = numbers.dirichlet(np.full(50, 0.2), 32)
            uniform = numbers.random(32)
            if mode == "pairs":
                uniform[1::2] = uniform[::2]
            if mode == "prompts" and not nth:
                uniform = shared
            tokens = [
                int(min(np.searchsorted(np.cumsum(law), u, side="right"), 49))
                for law, u in zip(laws, uniform, strict=True)
            ]
            if mode == "largest" and not nth:
                tokens = (np.log(laws + 1e-300) + largest).argmax(-1).tolist()
            answers.append(from_laws(tuple(tokens), laws))
        outputs.append(answers)
    return evidence_against(outputs)


def test_the_evidence_is_an_e_value():
    """Its mean is at most 1 under independence: 60 seeds."""
    found = [simulated(seed, "sound").evidence for seed in range(60)]
    assert np.mean(found) < 1.3
    assert np.mean(np.array(found) >= 20) <= 0.05


@pytest.mark.parametrize("mode", ["pairs", "prompts"])
def test_the_evidence_sees_numbers_that_are_used_again(mode):
    assert min(simulated(seed, mode).evidence for seed in range(5)) > 1e6


def test_the_evidence_sees_noise_that_is_used_again():
    """For engines that take the largest of probabilities and noise: the median of seeds."""
    assert np.median([simulated(seed, "largest").evidence for seed in range(9)]) > 1
