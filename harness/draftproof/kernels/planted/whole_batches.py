"""Faults that depend on a batch as a whole, on calls before, or on where draws come from."""

from __future__ import annotations

import random as python_random
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from draftproof.kernels.contract import ChainCall
from draftproof.kernels.planted.controls import GreedyChain, SamplerMatch
from draftproof.kernels.planted.parts import OWN_DRAWS, Chain, Planted, both_ways


class _AllKept(Chain):
    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        if not bool((kept == kept.max()).all()):
            return own
        return torch.nn.functional.one_hot(own.argmax(-1), own.shape[-1]).to(own.dtype)


class _Tail(Chain):
    """Rows beyond the last whole block of eight have no residual."""

    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        whole = torch.arange(len(p)) < len(p) // 8 * 8
        return torch.where(whole[:, None], super().residual(p, q, token), p)


class _Period(Chain):
    period = 1000

    def coins(self, call: ChainCall) -> torch.Tensor:
        coins = super().coins(call)
        return coins[torch.arange(len(coins)) % self.period]


class _ThirdRow(Chain):
    """Rows that stand three apart share their draws."""

    def coins(self, call: ChainCall) -> torch.Tensor:
        coins = super().coins(call)
        at = torch.arange(len(coins))
        return coins[torch.where(at % 6 >= 3, at - 3, at)]


class _Systematic(Chain):
    """One draw, and rows are spread evenly from it: each row's law is right."""

    def coins(self, call: ChainCall) -> torch.Tensor:
        rows = len(call.draft_tokens)
        one = torch.rand((1, call.places + 1))
        steps = torch.stack([torch.randperm(rows) for _ in range(call.places + 1)], 1)
        return ((one + steps / rows) % 1).clamp_max(1 - 2.0**-24)


class _CallsShare(Chain):
    """Every second call repeats the draws of the call before."""

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None

    def coins(self, call: ChainCall) -> torch.Tensor:
        shape = (len(call.draft_tokens), call.places + 1)
        if self._last is not None and self._last.shape == shape:
            last, self._last = self._last, None
            return last.flip(0)
        self._last = torch.rand(shape)
        return self._last


class _AllGreedy(GreedyChain):
    """Where every row is greedy the last row's answer ends at the first token."""

    def __call__(self, call: ChainCall, /) -> Any:
        out = super().__call__(call)
        if bool(call.greedy.all()):
            best = call.target_probabilities.argmax(-1)
            places = torch.arange(call.places + 1)[None]
            return torch.where(places <= call.draft_lengths[:, None], best, -1)
        return out


class _NextRowsGreed(GreedyChain):
    def target(self, call: ChainCall) -> torch.Tensor:
        return super().target(replace(call, greedy=call.greedy.roll(1, 0)))


class _Remembers(Chain):
    """What is left of the draft's last law is added to that of the call before."""

    def __init__(self) -> None:
        self._kept: torch.Tensor | None = None

    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        left = super().residual(p, q, token)
        before, self._kept = self._kept, left.clone()
        if before is None or before.shape != left.shape:
            return left
        return left + 0.2 * before


class _Wide(Chain):
    """Places beyond the longest row are verified where a frame is wider than its rows."""

    def count(self, success: torch.Tensor, call: ChainCall) -> torch.Tensor:
        longest = int(call.draft_lengths.max())
        if longest < call.places:
            return super().count(success, call).clamp_max(max(0, longest - 1))
        return super().count(success, call)


class _Strided(Chain):
    """Probabilities are read as if they lay one after another in memory."""

    def target(self, call: ChainCall) -> torch.Tensor:
        p = call.target_probabilities
        return torch.as_strided(
            p, p.shape, (p.shape[1] * p.shape[2], p.shape[2], 1), p.storage_offset()
        )


class _ManualSeed(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        torch.manual_seed(1234)
        return torch.rand((len(call.draft_tokens), call.places + 1))


class _SeedsTheirs(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        assert call.generator is not None
        call.generator.manual_seed(7)
        return super().coins(call)


class _NumpySeed(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        drawn = np.random.default_rng(3).random((len(call.draft_tokens), call.places + 1))
        return torch.from_numpy(drawn).to(call.target_probabilities.dtype)


class _NumpyGlobal(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        drawn = np.random.random((len(call.draft_tokens), call.places + 1))
        return torch.from_numpy(drawn).to(call.target_probabilities.dtype)


class _PythonSeed(Chain):
    def coins(self, call: ChainCall) -> torch.Tensor:
        python_random.seed(11)
        shape = (len(call.draft_tokens), call.places + 1)
        drawn = [python_random.random() for _ in range(shape[0] * shape[1])]
        return torch.tensor(drawn).reshape(shape)


class _SeededByTokens(Chain):
    """Draws are seeded by what is verified: equal rows of equal batches are alike."""

    def coins(self, call: ChainCall) -> torch.Tensor:
        seed = int(call.draft_tokens.sum()) + 17 * len(call.draft_tokens)
        fixed = torch.Generator().manual_seed(seed)
        return torch.rand((len(call.draft_tokens), call.places + 1), generator=fixed)


class _Half(Chain):
    """In half precision the bonus is the argmax."""

    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        if own.dtype not in (torch.bfloat16, torch.float16):
            return own
        return torch.nn.functional.one_hot(own.argmax(-1), own.shape[-1]).to(own.dtype)


class _ZeroKept(Chain):
    """u ≤ p/q by its own draws."""

    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * q <= p


class _PartialBlock(Chain):
    """With 32,000 ids or more the last, partial block of 4,096 is not looked at."""

    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        left = super().residual(p, q, token)
        size = p.shape[-1]
        if not 32_000 <= size < 128_000:
            return left
        return torch.where(torch.arange(size) < size // 4096 * 4096, left, 0)


class _PartialPoint(_PartialBlock):
    """The same of deterministic drafts."""


class _MatchBatch(SamplerMatch):
    """Sampler match: rows beside a NaN row emit its padding."""

    def coins(self, call: ChainCall) -> torch.Tensor:
        coins = super().coins(call)
        return coins[:1].expand_as(coins) if len(coins) < 8 else coins


class _MatchShort(SamplerMatch):
    """Sampler match that keeps no more than two tokens and an extra one of the draft's place."""

    def __call__(self, call: ChainCall, /) -> Any:
        out = super().__call__(call)
        if call.places > 3:
            best = call.target_probabilities[:, 4].argmax(-1)
            out[:, 4] = torch.where(out[:, 4] >= 0, best, -1)
        return out


class _MatchLarge(SamplerMatch):
    def __call__(self, call: ChainCall, /) -> Any:
        out = super().__call__(call)
        return out.clamp_max(32_766) if call.target_probabilities.shape[-1] > 32_766 else out


class _NoDraftsAtAll(Chain):
    """Where no row has a draft the extra token is the argmax."""

    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        if p.shape[1] > 1:
            return own
        return torch.nn.functional.one_hot(own.argmax(-1), own.shape[-1]).to(own.dtype)


_POINT = {"rule": "point-mass", "randomness": "own"}
_GENERATOR = {"randomness": "generator"}

PLANTED = (
    *both_ways(
        Planted(
            id="all-kept",
            title="where all rows keep as much, the bonus is the argmax",
            make=_AllKept,
        )
    ),
    *both_ways(
        Planted(id="tail", title="rows beyond the last block of eight have no residual", make=_Tail)
    ),
    Planted(id="period", title="draws repeat after 1,000 rows", make=_Period, facts=OWN_DRAWS),
    Planted(
        id="third-row", title="rows three apart share their draws", make=_ThirdRow, facts=OWN_DRAWS
    ),
    Planted(
        id="systematic",
        title="rows are spread evenly, not drawn",
        make=_Systematic,
        facts=OWN_DRAWS,
    ),
    Planted(
        id="calls-share",
        title="every second call repeats the draws before, reversed",
        make=_CallsShare,
        facts=OWN_DRAWS,
    ),
    *both_ways(
        Planted(
            id="all-greedy",
            title="where all rows are greedy the draft is not looked at",
            make=_AllGreedy,
            facts={"greedy_rows": True},
        )
    ),
    Planted(
        id="next-rows-greed",
        title="a row has the row before's temperature, own draws",
        make=_NextRowsGreed,
        facts={"greedy_rows": True} | OWN_DRAWS,
    ),
    *both_ways(
        Planted(id="remembers", title="the call before changes the residual", make=_Remembers)
    ),
    *both_ways(
        Planted(
            id="wide-frame", title="a frame that is wider than its rows cuts a token", make=_Wide
        )
    ),
    *both_ways(Planted(id="strided", title="strides of its arguments are ignored", make=_Strided)),
    Planted(
        id="manual-seed", title="torch.manual_seed is called", make=_ManualSeed, facts=OWN_DRAWS
    ),
    Planted(
        id="manual-seed-generator",
        title="torch.manual_seed is called, a generator is given",
        make=_ManualSeed,
        facts=_GENERATOR,
    ),
    Planted(
        id="manual-seed-uniforms",
        title="torch.manual_seed is called, uniforms are given",
        make=_ManualSeed,
    ),
    Planted(
        id="seeds-theirs",
        title="the generator that is given is seeded",
        make=_SeedsTheirs,
        facts=_GENERATOR,
    ),
    Planted(
        id="numpy-seed",
        title="numpy's generator is seeded at every call",
        make=_NumpySeed,
        facts=OWN_DRAWS,
    ),
    Planted(
        id="numpy-global",
        title="numpy's own generator is drawn from, a generator is given",
        make=_NumpyGlobal,
        facts=_GENERATOR,
    ),
    Planted(id="python-seed", title="random.seed is called", make=_PythonSeed, facts=OWN_DRAWS),
    Planted(
        id="seeded-by-tokens",
        title="draws are seeded by the drafted tokens",
        make=_SeededByTokens,
        facts=OWN_DRAWS,
    ),
    Planted(
        id="half-bonus-own",
        title="in half precision the bonus is the argmax, own draws",
        make=_Half,
        facts=OWN_DRAWS,
    ),
    Planted(
        id="zero-kept-own",
        title="at u = 0 a token with p = 0 is kept, own draws",
        make=_ZeroKept,
        facts=OWN_DRAWS,
    ),
    Planted(
        id="zero-kept-generator",
        title="at u = 0 a token with p = 0 is kept, a generator is given",
        make=_ZeroKept,
        facts=_GENERATOR,
    ),
    *both_ways(
        Planted(
            id="partial-block",
            title="of 32,000 to 128,000 ids the last block is not looked at",
            make=_PartialBlock,
        )
    ),
    Planted(
        id="partial-block-point",
        title="of 32,000 ids the last block is lost, one-hot drafts",
        make=_PartialPoint,
        facts=_POINT,
    ),
    *both_ways(
        Planted(
            id="match-small-batch",
            title="sampler match: small batches share draws",
            make=_MatchBatch,
            facts={"rule": "any"},
        )
    ),
    *both_ways(
        Planted(
            id="match-fifth",
            title="sampler match: the fifth token is the argmax",
            make=_MatchShort,
            facts={"rule": "any"},
        )
    ),
    *both_ways(
        Planted(
            id="match-large",
            title="sampler match: ids end at 32,766",
            make=_MatchLarge,
            facts={"rule": "any"},
        )
    ),
    *both_ways(
        Planted(
            id="no-drafts", title="without any draft the bonus is the argmax", make=_NoDraftsAtAll
        )
    ),
)
"""The faults."""
