import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import distributions

from draftproof.categorical import inverse_cdf
from draftproof.draw_log import log_draws
from draftproof.errors import DraftproofError, NumericsError, UsageError
from draftproof.randomness import (
    BOUNDARY_DRAWS,
    Draw,
    InjectedRandomness,
    Purpose,
    Randomness,
    SeededRandomness,
)

LARGEST_BELOW_ONE = BOUNDARY_DRAWS[1]


@given(st.integers(1, 8).flatmap(distributions), st.floats(0, LARGEST_BELOW_ONE))
def test_a_token_of_probability_zero_is_never_drawn(probabilities, uniform):
    for boundary in (0.0, uniform, LARGEST_BELOW_ONE):
        assert probabilities[inverse_cdf(probabilities, boundary)] > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ends_of_the_unit_interval(dtype):
    weights = torch.tensor([0, 0.1, 0.2, 0.7, 0, 0], dtype=dtype)
    assert inverse_cdf(weights, 0.0) == 1
    assert inverse_cdf(weights, LARGEST_BELOW_ONE) == 3


def test_rounding_of_the_total_cannot_run_off_the_end():
    weights = torch.full((10,), 0.1, dtype=torch.float32)
    weights[-1] = 0
    assert inverse_cdf(weights, LARGEST_BELOW_ONE) == 8


def test_a_total_too_small_to_be_multiplied_cannot_run_off_the_end():
    weights = torch.tensor([0, 5e-324, 0], dtype=torch.float64)
    for uniform in BOUNDARY_DRAWS:
        assert inverse_cdf(weights, uniform) == 1


@pytest.mark.parametrize("bad", [[float("nan"), 1.0], [0.0, 0.0], [float("inf"), 1.0]])
def test_weights_that_are_no_law_are_refused(bad):
    reasons = "the model returned NaN or infinite logits, or a filter removed every token$"
    with pytest.raises(NumericsError, match=f"^cannot draw from weights .*: {reasons}"):
        inverse_cdf(torch.tensor(bad), 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_add_up_without_rounding_whatever_their_type(dtype):
    """As many as a large vocabulary; a sum in bfloat16 stands still at 256."""
    weights = torch.ones(200_000, dtype=dtype)
    for share in (0.1, 0.5, 0.9):
        assert inverse_cdf(weights, share) == int(share * len(weights))


def test_a_certain_coin_is_certain():
    randomness = SeededRandomness(0, "case")
    assert all(randomness.bernoulli(1.0, Purpose.ACCEPT) for _ in range(1000))
    assert not any(randomness.bernoulli(0.0, Purpose.ACCEPT) for _ in range(1000))


@pytest.mark.parametrize("uniform", BOUNDARY_DRAWS)
def test_a_certain_coin_is_certain_at_both_ends(uniform):
    randomness = InjectedRandomness(uniform)
    assert randomness.bernoulli(1.0, Purpose.ACCEPT)
    assert not randomness.bernoulli(0.0, Purpose.ACCEPT)


def test_draws_follow_the_law():
    """False-alarm rate 1e-6: a chi-square test with a fixed seed."""
    law = torch.tensor([0.5, 0.2, 0.0, 0.3], dtype=torch.float64)
    randomness = SeededRandomness(7, "law")
    counts = np.bincount(
        [randomness.categorical(law, Purpose.PLAIN) for _ in range(20_000)], minlength=4
    )
    assert counts[2] == 0
    expected = 20_000 * law.numpy()
    kept = expected > 0
    assert stats.chisquare(counts[kept], expected[kept]).pvalue > 1e-6


def draws(randomness, purpose, count=50):
    return [randomness.bernoulli(0.5, purpose) for _ in range(count)]


def test_same_name_same_draws_whatever_else_is_drawn():
    alone = draws(SeededRandomness(3, "a"), Purpose.ACCEPT)
    beside = SeededRandomness(3, "a")
    draws(beside, Purpose.DRAFT)
    draws(SeededRandomness(3, "b"), Purpose.ACCEPT)
    torch.rand(3)
    assert draws(beside, Purpose.ACCEPT) == alone


def test_streams_differ_by_seed_case_and_purpose():
    reference = draws(SeededRandomness(3, "a"), Purpose.ACCEPT)
    assert draws(SeededRandomness(4, "a"), Purpose.ACCEPT) != reference
    assert draws(SeededRandomness(3, "b"), Purpose.ACCEPT) != reference
    for purpose in set(Purpose) - {Purpose.ACCEPT}:
        assert draws(SeededRandomness(3, "a"), purpose) != reference


def test_draws_are_counted_by_purpose():
    randomness = SeededRandomness(0, "case")
    draws(randomness, Purpose.ACCEPT, 3)
    randomness.categorical(torch.tensor([1.0]), Purpose.BONUS)
    assert randomness.draws == {Purpose.ACCEPT: 3, Purpose.BONUS: 1}


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    draws(SeededRandomness(0, "case"), Purpose.DRAFT)
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_draw_is_described_as_it_was_decided():
    law = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    seen = []
    randomness = InjectedRandomness(0.25, 0.75, 0.5, observe=seen.append)
    outcomes = (
        randomness.bernoulli(0.3, Purpose.ACCEPT),
        randomness.bernoulli(0.3, Purpose.ACCEPT),
        randomness.categorical(law, Purpose.CORRECTION),
    )
    assert outcomes == (True, False, 2)
    digest = hashlib.sha256(law.numpy().tobytes()).hexdigest()[:16]
    accept, correction = Purpose.ACCEPT, Purpose.CORRECTION
    assert seen == [
        Draw(purpose=accept, index=0, uniform=0.25, outcome=1, probability=0.3),
        Draw(purpose=accept, index=1, uniform=0.75, outcome=0, probability=0.7),
        Draw(purpose=correction, index=0, uniform=0.5, outcome=2, probability=0.75, weights=digest),
    ]


def test_observing_changes_no_draw_and_no_number_decides_two():
    seen = []
    observed, alone = SeededRandomness(3, "a", seen.append), SeededRandomness(3, "a")
    for randomness in (observed, alone):
        for purpose in Purpose:
            draws(randomness, purpose, 20)
    assert draws(observed, Purpose.ACCEPT) == draws(alone, Purpose.ACCEPT)
    assert len({draw.uniform for draw in seen}) == len(seen) == 20 * len(Purpose) + 50


def test_given_numbers_decide_in_turn_and_the_last_again_and_again():
    randomness = InjectedRandomness(*BOUNDARY_DRAWS)
    assert isinstance(randomness, Randomness)
    found = [randomness.bernoulli(0.5, purpose) for purpose in (*Purpose, *Purpose)]
    assert found == [True] + [False] * 9


@pytest.mark.parametrize("uniforms", [(), (1.0,), (0.5, -0.1), (float("nan"),)])
def test_numbers_that_no_draw_can_be_are_refused(uniforms):
    with pytest.raises(UsageError, match=r"numbers from \[0, 1\)"):
        InjectedRandomness(*uniforms)


def test_a_log_holds_every_draw_up_to_an_error(tmp_path):
    folder = tmp_path / "new" / "draws"

    def fail():
        with log_draws(folder, "code/..\0") as observe:
            draws(SeededRandomness(3, "a", observe), Purpose.ACCEPT, 5)
            raise NumericsError("late")

    with pytest.raises(NumericsError, match="late"):
        fail()
    [path] = folder.iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["purpose"], line["index"]) for line in lines] == [("accept", i) for i in range(5)]
    assert [line["uniform"] < 0.5 for line in lines] == draws(
        SeededRandomness(3, "a"), Purpose.ACCEPT, 5
    )


def test_a_log_that_cannot_be_written_is_an_error_that_names_the_option(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(DraftproofError, match="give another --spec-log-draws"),
        log_draws(tmp_path / "file", "case"),
    ):
        pass


def test_the_draws_of_a_seed_do_not_move_between_versions():
    """When it fails, seeded outputs are others than before: CHANGELOG.md, under Numbers."""
    randomness = SeededRandomness(7, "builtin/code/00")
    drawn = [randomness.uniform(purpose) for purpose in (*Purpose, Purpose.DRAFT)]
    assert drawn == [
        0.3485053300153258,
        0.5900803844000361,
        0.6636663030023424,
        0.6230866394333513,
        0.7753434054054065,
        0.8088154517186403,
    ]
