"""Faults between the rows of a batch, in its padding, and in what a kernel draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from draftproof.kernels.contract import ChainCall
from draftproof.kernels.planted.parts import Chain, Planted, inverse


class _FirstLength(Chain):
    def __call__(self, call: ChainCall, /) -> Any:
        same = call.draft_lengths[:1].expand_as(call.draft_lengths)
        return super().__call__(replace(call, draft_lengths=same))


class _LongestLength(Chain):
    def count(self, success: torch.Tensor, call: ChainCall) -> torch.Tensor:
        inside = torch.arange(call.places)[None] < call.draft_lengths.max()
        return (success & inside).long().cumprod(1).sum(1)


class _NeighboursLaw(Chain):
    def weights(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor
    ) -> torch.Tensor:
        return super().weights(call, p, q.roll(1, 0), kept)


class _NeighboursCoin(Chain):
    def last_coin(self, call: ChainCall, coins: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return coins[:, call.places].roll(1, 0)


class _FirstRowsCoins(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        coins = super().coins(call)
        return coins[:1].expand_as(coins)


class _BatchTotal(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        left = (p - q).clamp_min(0)
        return left / left.sum() * len(p)

    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        found = (weights.cumsum(-1) <= coin[:, None]).sum(-1)
        return found.clamp_max(weights.shape[-1] - 1)


class _FlatProduct(Chain):
    def count(self, success: torch.Tensor, call: ChainCall) -> torch.Tensor:
        """A run of successes is carried on from the row before."""
        places = torch.arange(call.places)[None]
        inside = success & (places < call.draft_lengths[:, None])
        broken = (~inside).any(1)
        carried = torch.cat([torch.zeros(1, dtype=torch.bool), broken[:-1]])
        first = inside[:, :1] & ~(carried[:, None] & ~inside[:, :1])
        rest = torch.cat([first, inside[:, 1:]], 1) if call.places else inside
        kept = rest.long().cumprod(1).sum(1)
        return torch.where(carried & (kept == call.draft_lengths), (kept - 1).clamp_min(0), kept)


class _SoftGreedy(Chain):
    """Greedy rows are read by the last row's flag."""

    def target(self, call: ChainCall) -> torch.Tensor:
        p = call.target_probabilities
        if not len(p):
            return p
        greedy = call.greedy[-1].expand(len(p))
        hot = torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)
        return torch.where(greedy[:, None, None], hot, p)


class _GreedySampled(Chain):
    """Greedy rows are sampled."""


class _MaskedByProduct(Chain):
    def weights(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor
    ) -> torch.Tensor:
        hot = torch.nn.functional.one_hot(kept, call.places + 1).to(p.dtype)
        own_p, own_q = (hot[..., None] * p).sum(1), (hot[..., None] * q).sum(1)
        left = (own_p - own_q).clamp_min(0)
        full = (kept >= call.draft_lengths)[:, None]
        return torch.where(full | (left.sum(-1, keepdim=True) == 0), own_p, left)


class _SharedMaximum(Chain):
    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        """What is small beside the batch's largest weight is dropped."""
        return inverse(torch.where(weights < 0.05 * weights.max(), 0, weights), coin)


class _WritesDraft(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return super().residual(p, q, token)

    def target(self, call: ChainCall) -> torch.Tensor:
        call.target_probabilities.div_(call.target_probabilities.sum(-1, keepdim=True))
        call.draft_tokens.clamp_min_(1)
        return call.target_probabilities


class _BonusAtLongest(Chain):
    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        return p[:, -1]


class _EmptyRows(Chain):
    def emitted(self, call: ChainCall, kept: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        out = super().emitted(call, kept, extra)
        return torch.where((call.draft_lengths == 0)[:, None], -1, out)


class _SixteenCut(Chain):
    def count(self, success: torch.Tensor, call: ChainCall) -> torch.Tensor:
        """No more than eight drafted tokens are kept, as a buffer has it."""
        return super().count(success, call).clamp_max(8)


class _Seeded(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        fixed = torch.Generator().manual_seed(0)
        return torch.rand((len(call.draft_tokens), call.places + 1), generator=fixed)


class _GlobalDraws(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        return torch.rand((len(call.draft_tokens), call.places + 1))


class _OneDrawForAll(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        one = torch.rand((1, call.places + 1), generator=call.generator)
        return one.expand(len(call.draft_tokens), -1)


class _Mirrored(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        coins = super().coins(call)
        mirrored = coins.clone()
        mirrored[1::2] = 1 - coins[: 2 * (len(coins) // 2) : 2] - 2.0**-24
        return mirrored.clamp_min(0)


class _ReseededRows(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        """The coins of a row are drawn from one seed: all of its uniforms are alike."""
        return super().coins(call)[:, :1].expand(-1, call.places + 1)


_DRAWS = {"randomness": "generator"}

PLANTED = (
    Planted(id="first-length", title="all rows have the first row's length", make=_FirstLength),
    Planted(
        id="longest-length",
        title="padding is verified as if it were drafted",
        make=_LongestLength,
        source="vllm PR 50518",
    ),
    Planted(
        id="neighbours-law", title="the residual reads the row before's q", make=_NeighboursLaw
    ),
    Planted(
        id="neighbours-coin",
        title="the extra token is picked by the row before's uniform",
        make=_NeighboursCoin,
    ),
    Planted(
        id="first-rows-coins", title="all rows use the first row's uniforms", make=_FirstRowsCoins
    ),
    Planted(id="batch-total", title="the residual is normalised over the batch", make=_BatchTotal),
    Planted(id="flat-product", title="a rejection in one row cuts the next", make=_FlatProduct),
    Planted(
        id="last-rows-greed",
        title="the last row's temperature is everyone's",
        make=_SoftGreedy,
        facts={"greedy_rows": True},
    ),
    Planted(
        id="greedy-sampled",
        title="greedy rows are sampled",
        make=_GreedySampled,
        facts={"greedy_rows": True},
    ),
    Planted(
        id="masked-by-product",
        title="padding is masked by multiplication: NaN spreads",
        make=_MaskedByProduct,
    ),
    Planted(
        id="shared-maximum",
        title="small weights are dropped beside the batch's largest",
        make=_SharedMaximum,
    ),
    Planted(id="writes-inputs", title="it writes to its arguments", make=_WritesDraft),
    Planted(
        id="bonus-at-longest",
        title="the bonus reads the longest row's last law",
        make=_BonusAtLongest,
    ),
    Planted(id="empty-rows", title="rows without a draft emit nothing", make=_EmptyRows),
    Planted(id="eight-kept", title="no more than eight tokens are kept", make=_SixteenCut),
    Planted(
        id="seeded",
        title="every call draws from the same seed",
        make=_Seeded,
        facts=_DRAWS,
        source="feifeibear/LLMSpeculativeSampling",
    ),
    Planted(
        id="global-draws",
        title="torch's own generator is drawn from",
        make=_GlobalDraws,
        facts=_DRAWS,
    ),
    Planted(id="one-draw", title="one draw for all rows", make=_OneDrawForAll, facts=_DRAWS),
    Planted(
        id="mirrored",
        title="every second row has the mirrored uniforms",
        make=_Mirrored,
        facts={"randomness": "own"},
    ),
    Planted(
        id="reseeded-rows",
        title="all uniforms of a row are alike",
        make=_ReseededRows,
        facts=_DRAWS,
    ),
)
"""The faults."""
