"""Small public implementations of speculative sampling, restated as kernels.

Each of them verifies in the middle of its decoding loop, so that there is no function to call.
What is restated is what decides: how a coin is compared, what a correction is drawn from, and by
which draw; over a batch of rows, where the originals have one. `draftproof docs kernels` says what
was found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from draftproof.kernels.contract import END, ChainCall, declare

Coins = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Draw = Callable[[torch.Tensor], torch.Tensor]


def _above_the_ratio(coins: torch.Tensor, ratios: torch.Tensor) -> torch.Tensor:
    return coins > ratios


def _not_below_the_ratio(coins: torch.Tensor, ratios: torch.Tensor) -> torch.Tensor:
    return ~(coins < ratios.clamp_max(1))


def _multinomial(laws: torch.Tensor) -> torch.Tensor:
    return torch.multinomial(laws, 1)[:, 0]


def _exponential_race(laws: torch.Tensor) -> torch.Tensor:
    return (laws / torch.empty_like(laws).exponential_(1)).argmax(-1)


def _by_numpy(laws: torch.Tensor) -> torch.Tensor:
    rows = laws.double().numpy()
    return torch.tensor([np.random.choice(len(law), p=law / law.sum()) for law in rows])


def _torch_coins(ratios: torch.Tensor) -> torch.Tensor:
    return torch.rand_like(ratios)


def _numpy_coins(ratios: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.random.random(ratios.shape))


def _verify(
    call: ChainCall, rejects: Coins, draw: Draw, coins: Draw = _torch_coins
) -> torch.Tensor:
    """``[rows, places + 1]`` the kept tokens, one from the residual or the bonus, then `END`."""
    assert call.draft_probabilities is not None
    rows, places = torch.arange(len(call.draft_tokens)), torch.arange(call.places)
    p = call.target_probabilities[:, : call.places].gather(-1, call.draft_tokens[..., None])[..., 0]
    q = call.draft_probabilities.gather(-1, call.draft_tokens[..., None])[..., 0]
    stops = rejects(coins(p), p / q) | (places >= call.draft_lengths[:, None])
    kept = (stops.cumsum(1) == 0).sum(1)
    # One more row of the draft's laws: nothing is taken off where all tokens are kept.
    drafted = torch.nn.functional.pad(call.draft_probabilities, (0, 0, 0, 1))
    taken = torch.where((kept < call.draft_lengths)[:, None], drafted[rows, kept], 0)
    laws = (call.target_probabilities[rows, kept] - taken).clamp_min(0)
    laws = laws / laws.sum(-1, keepdim=True)
    emitted = torch.nn.functional.pad(call.draft_tokens, (0, 1))
    emitted[rows, kept] = draw(laws)
    return torch.where(torch.arange(call.places + 1) <= kept[:, None], emitted, END)


@declare(rule="rejection", randomness="own")
def gpt_fast(call: ChainCall) -> torch.Tensor:
    """`speculative_decode` of github.com/meta-pytorch/gpt-fast: draws by exponential races."""
    return _verify(call, _above_the_ratio, _exponential_race)


@declare(rule="rejection", randomness="own")
def lucidrains(call: ChainCall) -> torch.Tensor:
    """`speculative_decoding` of github.com/lucidrains/speculative-decoding, lenience 1."""
    return _verify(call, _above_the_ratio, _multinomial)


@declare(rule="rejection", randomness="own")
def lucidrains_lenience(call: ChainCall) -> torch.Tensor:
    """The same with ``lenience=0.8``, which the coin divides by and the residual does not."""
    return _verify(call, lambda coins, ratios: _above_the_ratio(coins, ratios / 0.8), _multinomial)


@declare(rule="rejection", randomness="own")
def romsto(call: ChainCall) -> torch.Tensor:
    """`speculative_decoding` of github.com/romsto/Speculative-Decoding."""
    return _verify(call, _above_the_ratio, _multinomial)


@declare(rule="rejection", randomness="own")
def romsto_without_adjustment(call: ChainCall) -> torch.Tensor:
    """The same with ``skip_sample_adjustment=True``: corrections are drawn from p."""
    emitted = _verify(call, _above_the_ratio, _multinomial)
    rows, kept = torch.arange(len(emitted)), (emitted != END).sum(1) - 1
    emitted[rows, kept] = _multinomial(call.target_probabilities[rows, kept])
    return emitted


@declare(rule="rejection", randomness="own")
def llm_speculative_sampling(call: ChainCall) -> torch.Tensor:
    """`speculative_sampling` of github.com/feifeibear/LLMSpeculativeSampling."""
    return _verify(call, _above_the_ratio, _multinomial)


@declare(rule="rejection", randomness="own")
def llm_speculative_sampling_seeded(call: ChainCall) -> torch.Tensor:
    """The same with ``random_seed=``: torch is seeded with it before every draw of a token."""

    def seeded(laws: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(42)
        return _multinomial(laws)

    return _verify(call, _above_the_ratio, seeded)


@declare(rule="rejection", randomness="own")
def llm_speculative_sampling_v2(call: ChainCall) -> torch.Tensor:
    """`speculative_sampling_v2` of the same: a token is kept if the coin is below the ratio."""
    return _verify(call, _not_below_the_ratio, _multinomial)


@declare(rule="rejection", randomness="own")
def jaymody(call: ChainCall) -> torch.Tensor:
    """`speculative_sampling` of github.com/jaymody/speculative-sampling, in numpy."""
    return _verify(call, _not_below_the_ratio, _by_numpy, _numpy_coins)
