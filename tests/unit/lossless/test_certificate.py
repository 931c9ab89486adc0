"""The greedy certificate tells a wrong token from a rounded one, at every fork."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import tiny_lm

from draftproof.acceptance import GreedyRule
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import make_drafter
from draftproof.lossless.certificate import certify, explain
from draftproof.lossless.widths import scored_as_decoded, scored_at_width, spread, target_alone
from draftproof.models.table import TableLM
from draftproof.randomness import SeededRandomness
from draftproof.sampling import TokenLaw
from draftproof.shapes import KAryShape
from draftproof.stopping import Stopping
from draftproof.trace import Verdict

GREEDY = Sampling()
LAW = TokenLaw(GREEDY)


def counting_lm(top=0.9, size=8):
    """A model whose choice is the id after the last one, and id 0 its second choice."""

    def law(context):
        row = torch.full((size,), 1e-4, dtype=torch.float64)
        row[(context[-1] + 1) % size] = top
        row[0] = max(row[0], 1 - top - 6e-4)
        return row / row.sum()

    return TableLM(law, size)


class RoundingLM(TableLM):
    """A table whose logits depend a little on how many tokens are scored in one block."""

    def __init__(self, law, size, noise):
        super().__init__(law, size)
        self.noise = noise

    def score(self, token_ids, parents):
        rows = super().score(token_ids, parents)
        generator = torch.Generator().manual_seed(len(token_ids))
        return rows + self.noise * torch.randn(rows.shape, generator=generator, dtype=rows.dtype)


class CacheRoundingLM(TableLM):
    """A table of two tokens whose logits depend a little on the blocks that filled its cache."""

    def __init__(self, margin, noise):
        row = torch.tensor([1 + margin, 1.0], dtype=torch.float64)
        super().__init__(lambda context: row / row.sum(), 2)
        self.noise = noise
        self.drift = 0.0
        self.width = 1

    def reset(self):
        super().reset()
        self.drift = 0.0

    def score(self, token_ids, parents):
        self.width = len(token_ids)
        rows = super().score(token_ids, parents)
        rows[:, 1] += self.drift + self.noise * (self.width > 1)
        return rows

    def commit(self, path):
        self.drift += self.noise * len(path) * (self.width > 1)
        super().commit(path)


def certificate(model, output, prompt=(1,), width=4, **options):
    return certify(prompt, output, model, LAW, widths=[width] * len(output), **options)


def test_the_targets_own_tokens_are_identical():
    found = certificate(counting_lm(), (2, 3, 4, 5))
    assert (found.verdict, found.forks) == (Verdict.IDENTICAL, ())
    assert explain(found, (2, 3, 4, 5), str) == ""


def test_every_fork_is_found_each_after_its_own_prefix():
    # 0 instead of 4; then 1, 2 follow from 0; then 7 instead of 3; then 0 follows from 7.
    output = (2, 3, 0, 1, 2, 7, 0)
    found = certificate(counting_lm(), output)
    assert found.verdict is Verdict.ALGORITHMIC
    assert [(f.index, f.token_id, f.target_token_id) for f in found.forks] == [(2, 0, 4), (5, 7, 3)]
    assert found.forks[0].margin == pytest.approx(torch.tensor(0.9 / 0.0994).log().item(), rel=1e-3)
    assert not any(fork.reproduced for fork in found.forks)
    message = explain(found, output, str)
    lines = message.splitlines()
    assert lines[0].startswith("speculation changed the output: 2 of 7 tokens are not the target's")
    assert lines[0].endswith("(algorithmic)")
    assert "logit margin 2.203 exceeds the tie tolerance 1e-09: not rounding" in message
    assert lines[-3].startswith("  What to do: look at the step that emitted token 2;")
    assert "token 2, after '(2, 3)'" in message
    assert "token 5, after '(2, 3, 0, 1, 2)'" in message
    assert message.count("not rounding") == 2


def test_a_tolerance_alone_does_not_pass_a_wrong_tie_break():
    """Two tokens are exactly tied, and the one with the larger id is emitted."""
    tied = TableLM(lambda context: torch.tensor([0.1, 0.45, 0.45], dtype=torch.float64), 3)
    assert certificate(tied, (1, 1)).verdict is Verdict.IDENTICAL
    wrong = certificate(tied, (1, 2), tie_tolerance=1.0)
    assert wrong.verdict is Verdict.ALGORITHMIC
    assert wrong.forks[0].margin == 0
    message = explain(wrong, (1, 2), str)
    assert "is within the tie tolerance 1, but the target alone never comes to this" in message


@pytest.mark.parametrize(("rounding", "is_right"), [(0.0, False), (0.09, False), (0.11, True)])
def test_rounding_of_other_kernels_needs_no_reproduction_by_the_judge(rounding, is_right):
    """A judge in float64 never varies; a tolerance alone explains nothing, an engine's does."""
    law = torch.tensor([0.1, 0.1 * torch.tensor(-0.1).exp(), 0.01], dtype=torch.float64)
    model = TableLM(lambda context: law / law.sum(), 3)
    found = certificate(model, (0, 1), tie_tolerance=1.0, engine_rounding=rounding)
    assert found.forks[0].margin == pytest.approx(0.1, rel=1e-6)
    assert found.verdict is (Verdict.NUMERICAL if is_right else Verdict.ALGORITHMIC)
    says = "rounding of the engine's own, taken to be up to 0.11" if is_right else "not rounding"
    assert says in explain(found, (0, 1), str)
    wrong = certificate(model, (0, 2), tie_tolerance=1.0, engine_rounding=rounding)
    assert wrong.verdict is Verdict.ALGORITHMIC
    wide = certificate(model, (0, 1), tie_tolerance=1e-3, engine_rounding=rounding)
    assert wide.tie_tolerance == max(1e-3, rounding)
    assert wide.verdict is found.verdict


@pytest.mark.parametrize("seed", range(20))
def test_what_the_target_alone_rounds_to_is_numerical_and_a_wrong_token_is_not(seed):
    generator = torch.Generator().manual_seed(seed)
    base = torch.rand(6, generator=generator, dtype=torch.float64)
    first, second = base.topk(2).indices.tolist()
    base[second] = base[first] * 0.9999
    model = RoundingLM(lambda context: base / base.sum(), 6, noise=1e-3)
    own = certificate(model, (first, second, first), tie_tolerance=0.01)
    assert own.verdict is Verdict.NUMERICAL
    assert own.forks[0].margin == pytest.approx(1e-4, rel=0.01)
    last = int(base.argmin())
    assert certificate(model, (first, last), tie_tolerance=0.01).verdict is Verdict.ALGORITHMIC
    assert certificate(model, (first, second), tie_tolerance=1e-5).verdict is Verdict.ALGORITHMIC


def test_rounding_that_lies_in_the_cache_explains_a_fork_in_a_narrow_block():
    """The last block is narrow, but what it attends to was computed in wide ones."""
    model = CacheRoundingLM(margin=0.01, noise=2e-3)
    output = (0, 0, 0, 0, 0, 0, 0, 1)
    wide = certify((1,), output, model, LAW, widths=[1, *[4] * 6, 1], tie_tolerance=0.1)
    assert wide.verdict is Verdict.NUMERICAL
    assert wide.forks[0].spread == pytest.approx(6 * 2e-3)
    narrow = certify((1,), output, model, LAW, widths=[1] * 8, tie_tolerance=0.1)
    assert narrow.verdict is Verdict.ALGORITHMIC
    strict = certify((1,), output, model, LAW, widths=[1, *[4] * 6, 1], tie_tolerance=1e-3)
    assert strict.verdict is Verdict.ALGORITHMIC


@pytest.mark.parametrize(
    ("noise", "verdict"), [(-2e-3, Verdict.NUMERICAL), (-5e-4, Verdict.ALGORITHMIC)]
)
def test_rounding_of_half_the_margin_anywhere_in_the_output_explains_a_fork(noise, verdict):
    """The engine's kernels may round the other way where the judge's do not."""
    model = CacheRoundingLM(margin=0.01, noise=noise)
    widths = [1, *[4] * 6, 1, 1]
    found = certify((1,), (0, 1, *[0] * 7), model, LAW, widths=widths, tie_tolerance=0.1)
    assert found.verdict is verdict
    assert found.forks[0].spread == pytest.approx(6 * -noise)


def test_what_plain_decoding_came_to_as_well_is_not_of_speculation():
    """Within the tolerance only, and only as far as both outputs are the same."""
    row = torch.tensor([0.5, 0.4999, 0.0001], dtype=torch.float64)
    model = TableLM(lambda context: row, 3)
    near = {"tie_tolerance": 0.01}
    assert certificate(model, (0, 1), **near).verdict is Verdict.ALGORITHMIC
    assert certificate(model, (0, 1), plain=(0, 1, 0), **near).verdict is Verdict.NUMERICAL
    assert certificate(model, (0, 1), plain=(1, 1), **near).verdict is Verdict.ALGORITHMIC
    assert certificate(model, (0, 2), plain=(0, 2), **near).verdict is Verdict.ALGORITHMIC


def test_plain_decoding_of_other_kernels_is_the_target_as_far_as_the_output_follows_it():
    lm = counting_lm()
    plain = (2, 5, 6, 7)
    assert certificate(lm, plain, plain=plain).verdict is Verdict.ALGORITHMIC
    assert certificate(lm, plain, plain=plain, plain_decides=True).verdict is Verdict.IDENTICAL
    output = (2, 5, 3, 4, 6)
    found = certificate(lm, output, plain=plain, plain_decides=True)
    assert found.verdict is Verdict.ALGORITHMIC
    assert [(f.index, f.target_token_id) for f in found.forks] == [(2, 6), (4, 5)]


def test_a_model_that_rounds_varies_by_the_last_digit_of_its_type():
    """The same margin, of a model that rounds a little in float64 and in bfloat16."""
    row = torch.tensor([4.0, 3.9], dtype=torch.float64)
    model = RoundingLM(lambda context: row.exp(), 2, noise=1e-9)
    assert certificate(model, (0, 1), tie_tolerance=1).verdict is Verdict.ALGORITHMIC
    model.model = SimpleNamespace(dtype=torch.bfloat16)
    assert certificate(model, (0, 1), tie_tolerance=1).verdict is Verdict.ALGORITHMIC
    row[1] = 3.97
    assert certificate(model, (0, 1), tie_tolerance=1).verdict is Verdict.NUMERICAL
    assert certificate(model, (0, 1), tie_tolerance=0.02).verdict is Verdict.ALGORITHMIC
    model.noise = 0
    assert certificate(model, (0, 1), tie_tolerance=1).verdict is Verdict.ALGORITHMIC


@given(st.integers(0, 11), st.lists(st.integers(1, 9), min_size=2, max_size=9))
@settings(max_examples=25)
def test_blocks_as_wide_as_decodings_score_the_same_context(seed, widths):
    model = tiny_lm(seed)
    output = [width % 5 for width in widths[1:]]
    expected = model.recompute([3, 1, *output])[1:-1]
    torch.testing.assert_close(scored_as_decoded(model, [3, 1], output, widths[1:]), expected)


def test_where_plain_decoding_parts_is_judged_although_the_whole_pass_agrees():
    model = counting_lm()
    found = certificate(model, (2, 3), plain=(2, 7))
    assert [fork.index for fork in found.forks] == [1]
    assert found.forks[0].target_token_id == 7
    assert found.forks[0].margin > 1


def test_penalties_come_before_the_argmax():
    """A repetition penalty turns the choice away from a token that was there."""
    row = torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64)
    model = TableLM(lambda context: row, 3)
    law = TokenLaw(Sampling(repetition_penalty=4.0), 1)
    widths = [2, 2]
    assert certify((2,), (0, 1), model, law, widths=widths).verdict is Verdict.IDENTICAL
    assert certify((2,), (0, 0), model, law, widths=widths).verdict is Verdict.ALGORITHMIC


def test_an_empty_output_has_nothing_to_judge():
    assert certificate(counting_lm(), ()).verdict is Verdict.IDENTICAL


@given(st.integers(0, 11), st.integers(0, 11), st.integers(1, 12))
@settings(max_examples=25)
def test_lossless_speculation_on_a_transformer_is_never_algorithmic(target_seed, draft_seed, new):
    target = tiny_lm(target_seed)
    options = {
        "sampling": GREEDY,
        "stopping": Stopping(max_new_tokens=new),
        "randomness": SeededRandomness(0, "case"),
    }
    drafter = make_drafter(KAryShape(2, 2), tiny_lm(draft_seed, layers=1))
    output = speculate((1, 2), target, drafter, GreedyRule(), **options)
    plain = plain_decode((1, 2), target, **options)
    found = certify((1, 2), output.token_ids, target, LAW, widths=[7] * new, plain=plain.token_ids)
    assert found.verdict in (Verdict.IDENTICAL, Verdict.NUMERICAL)


@given(st.integers(0, 11), st.lists(st.integers(0, 4), min_size=1, max_size=9), st.integers(1, 12))
@settings(max_examples=25)
def test_a_block_of_any_width_scores_the_same_context(seed, sequence, width):
    model = tiny_lm(seed)
    expected = model.recompute(sequence)[-1]
    torch.testing.assert_close(scored_at_width(model, sequence, width), expected)
    ways = target_alone(model, sequence, width)
    assert len(ways) == 1 + len({1, width, 2 * width})
    assert spread(ways) < 1e-4


def test_spread_looks_at_the_tokens_that_could_be_chosen():
    ways = torch.zeros(2, 40)
    ways[:, :20] = 9.0
    ways[1, 39] = 5.0
    assert spread(ways) == 0.0
    ways[1, 3] += 0.5
    assert spread(ways) == 0.5
    ways[:, 3] = -torch.inf
    assert spread(ways) == 0.0
