"""Kernels that are lossless: no check may fail them."""

from __future__ import annotations

from typing import Any

import torch

from draftproof.kernels.contract import ChainCall
from draftproof.kernels.planted.parts import (
    Chain,
    Planted,
    PointMassTree,
    VectorTree,
    WithoutReplacementTree,
    inverse,
)


class GreedyChain(Chain):
    """Takes soft laws of greedy rows."""

    def target(self, call: ChainCall) -> torch.Tensor:
        p = call.target_probabilities
        hot = torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)
        return torch.where(call.greedy[:, None, None], hot, p)


class SamplerMatch(Chain):
    """Draws from p at every place, and goes on while the draft has the same token."""

    def __call__(self, call: ChainCall, /) -> Any:
        drawn = inverse(call.target_probabilities, self.coins(call))
        places = torch.arange(call.places)[None]
        same = (drawn[:, : call.places] == call.draft_tokens) & (
            places < call.draft_lengths[:, None]
        )
        kept = same.long().cumprod(1).sum(1)
        beyond = torch.arange(call.places + 1)[None] > kept[:, None]
        return torch.where(beyond, -1, drawn)


class OneHotOnSampled(Chain):
    """The one-hot rule on sampled drafts: kept with p, else p without the token."""

    def draft(self, call: ChainCall) -> torch.Tensor:
        hot = torch.nn.functional.one_hot(call.draft_tokens, call.target_probabilities.shape[-1])
        return torch.nn.functional.pad(hot.to(call.target_probabilities.dtype), (0, 0, 0, 1))


class Block(Chain):
    """Block verification: coins from the longest prefix to the shortest."""

    def __call__(self, call: ChainCall, /) -> Any:
        rows = torch.arange(len(call.draft_tokens))
        coins = self.coins(call).double()
        p, q = call.target_probabilities.double(), self.draft(call).double()
        weight = torch.ones(len(rows), dtype=torch.float64)
        weights = [weight]
        for place in range(call.places):
            token = call.draft_tokens[:, place]
            ratio = p[rows, place, token] / q[rows, place, token].clamp_min(1e-300)
            weight = (weight * ratio).clamp_max(1)
            weights.append(weight)
        kept = torch.zeros(len(rows), dtype=torch.int64)
        open_rows = torch.ones(len(rows), dtype=torch.bool)
        extra_weights = p[:, 0]
        for place in reversed(range(call.places + 1)):
            here = open_rows & (call.draft_lengths >= place)
            full = call.draft_lengths == place
            left = (weights[place][:, None] * p[:, place] - q[:, place]).clamp_min(0)
            total = left.sum(1)
            chance = torch.where(full, weights[place], total / (total + 1 - weights[place]))
            chance = torch.nan_to_num(chance, nan=1.0)
            take = here & ((coins[:, place] < chance) | torch.tensor(place == 0))
            own = torch.where(full[:, None] | (total[:, None] == 0), p[:, place], left)
            extra_weights = torch.where(take[:, None], own, extra_weights)
            kept = torch.where(take, place, kept)
            open_rows = open_rows & ~take
        extra = inverse(extra_weights, coins[:, call.places + 1])
        return self.emitted(call, kept, extra)


class SortedCumulative(Chain):
    """Picks from the weights in descending order."""

    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        order = torch.argsort(weights, dim=-1, descending=True, stable=True)
        at = inverse(weights.gather(-1, order), coin)
        return order.gather(-1, at[:, None])[:, 0]


class Races(Chain):
    """Picks by exponential races, as engines do, from its own draws."""

    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return (weights / torch.empty_like(weights).exponential_()).argmax(-1)


class StatesLengths(Chain):
    """Tells the accepted lengths, too."""

    def __call__(self, call: ChainCall, /) -> Any:
        tokens = super().__call__(call)
        return tokens, (tokens >= 0).sum(1) - 1


class LastSiblingFirst(VectorTree):
    """Tries independent siblings of the root in another order: exact, as they are exchangeable.

    For trees of depth 1 or less with siblings last; deeper nodes are left alone.
    """

    def coin(self, coins: torch.Tensor, node: int) -> torch.Tensor:
        return coins[:, (node + 1) % (coins.shape[1] - 1)]


rejection = Chain()
"""A right kernel that can be named on the command line."""


def _more(places: int) -> int:
    return places + 2


PLANTED = (
    Planted(id="rejection", title="rejection sampling", make=Chain, lossless=True),
    Planted(
        id="rejection-float64",
        title="rejection sampling in float64",
        make=Chain,
        facts={"dtype": "float64"},
        lossless=True,
    ),
    Planted(
        id="rejection-generator",
        title="rejection sampling from a generator",
        make=Chain,
        facts={"randomness": "generator"},
        lossless=True,
    ),
    Planted(
        id="rejection-own",
        title="rejection sampling by its own draws",
        make=Chain,
        facts={"randomness": "own"},
        lossless=True,
    ),
    Planted(
        id="rejection-greedy",
        title="greedy rows among sampled ones",
        make=GreedyChain,
        facts={"greedy_rows": True},
        lossless=True,
    ),
    Planted(
        id="rejection-states", title="tells the accepted lengths", make=StatesLengths, lossless=True
    ),
    Planted(
        id="sorted",
        title="the correction by a sorted cumulative sum",
        make=SortedCumulative,
        lossless=True,
    ),
    Planted(
        id="races",
        title="the correction by exponential races",
        make=Races,
        facts={"randomness": "own"},
        lossless=True,
    ),
    Planted(
        id="sampler-match",
        title="sampler match on sampled drafts",
        make=SamplerMatch,
        facts={"rule": "any"},
        lossless=True,
    ),
    Planted(
        id="sampler-match-one-hot",
        title="sampler match is the one-hot rule's law",
        make=SamplerMatch,
        facts={"rule": "point-mass"},
        lossless=True,
    ),
    Planted(
        id="one-hot-on-sampled",
        title="the one-hot rule on sampled drafts",
        make=OneHotOnSampled,
        facts={"rule": "any"},
        lossless=True,
    ),
    Planted(
        id="one-hot-own",
        title="the one-hot rule on sampled drafts, own draws",
        make=OneHotOnSampled,
        facts={"rule": "any", "randomness": "own"},
        lossless=True,
    ),
    Planted(
        id="one-hot",
        title="the one-hot rule",
        make=Chain,
        facts={"rule": "point-mass"},
        lossless=True,
    ),
    Planted(
        id="block",
        title="block verification",
        make=Block,
        facts={"rule": "block", "coins": _more},
        lossless=True,
    ),
    Planted(
        id="block-any",
        title="block verification, no rule declared",
        make=Block,
        facts={"rule": "any", "coins": _more},
        lossless=True,
    ),
    Planted(
        id="multi-round",
        title="multi-round rejection of a tree",
        make=VectorTree,
        facts={"shape": "tree", "rule": "multi-round"},
        lossless=True,
    ),
    Planted(
        id="without-replacement",
        title="rejection without replacement",
        make=WithoutReplacementTree,
        facts={"shape": "tree", "rule": "without-replacement"},
        lossless=True,
    ),
    Planted(
        id="one-hot-tree",
        title="the one-hot rule on a tree",
        make=PointMassTree,
        facts={"shape": "tree", "rule": "point-mass"},
        lossless=True,
    ),
    Planted(
        id="other-coins",
        title="a tree's uniforms in another order",
        make=LastSiblingFirst,
        facts={"shape": "tree", "rule": "multi-round"},
        lossless=True,
    ),
    Planted(
        id="multi-round-any",
        title="multi-round rejection, no rule declared",
        make=VectorTree,
        facts={"shape": "tree", "rule": "any"},
        lossless=True,
    ),
    Planted(
        id="multi-round-own",
        title="multi-round rejection by its own draws",
        make=VectorTree,
        facts={"shape": "tree", "rule": "multi-round", "randomness": "own"},
        lossless=True,
    ),
)
"""The controls."""
