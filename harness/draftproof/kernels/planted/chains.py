"""Faults of a chain sampler's lines: coins, residuals, rows, the bonus, the ends of uniforms."""

from __future__ import annotations

from typing import Any

import torch

from draftproof.kernels.contract import ChainCall
from draftproof.kernels.planted.parts import Chain, Planted, inverse


class _NoResidual(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return p


class _TurnedResidual(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return (q - p).clamp_min(0)


class _AbsoluteResidual(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return (p - q).abs()


class _SoftmaxResidual(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return (p - q).clamp_min(0).softmax(-1)


class _PartialResidual(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        own = q.gather(1, token[:, None])
        return (p.scatter_add(1, token[:, None], -own)).clamp_min(0)


class _FewLikeliest(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        whole = super().residual(p, q, token)
        most = whole.topk(min(50, whole.shape[-1]), dim=-1)
        return torch.zeros_like(whole).scatter(-1, most.indices, most.values)


class _WithoutRejected(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return p.scatter(1, token[:, None], 0.0)


class _Inverted(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * p < q


class _KeepsAll(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(coin, dtype=torch.bool)


class _NoCoin(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return p >= q


class _Lenient(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * q * 0.9 < p


class _Strict(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * q < 0.9 * p


class _AlmostRight(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * (q + 1e-5) < p


class _AsDeterministic(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin < p


class _KeepsImpossible(Chain):
    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * q <= p


class _ArgmaxOnly(Chain):
    def successes(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, coins: torch.Tensor
    ) -> torch.Tensor:
        return p[:, : call.places].argmax(-1) == call.draft_tokens


class _NextRow(Chain):
    def successes(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, coins: torch.Tensor
    ) -> torch.Tensor:
        return super().successes(call, p.roll(-1, 1), q, coins)


class _RowBefore(Chain):
    def target(self, call: ChainCall) -> torch.Tensor:
        p = call.target_probabilities
        return torch.cat([p[:, :1], p[:, :-1]], 1)


class _DraftRowBefore(Chain):
    def draft(self, call: ChainCall) -> torch.Tensor:
        q = super().draft(call)
        return torch.cat([q[:, :1], q[:, :-2], q[:, -1:]], 1)


class _CorrectionRow(Chain):
    def weights(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor
    ) -> torch.Tensor:
        following = torch.cat([p[:, 1:], p[:, -1:]], 1)
        full = (kept >= call.draft_lengths)[:, None]
        right = super().weights(call, p, q, kept)
        return torch.where(full, right, super().weights(call, following, q, kept))


class _BonusRow(Chain):
    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        return p[torch.arange(len(kept)), (kept - 1).clamp_min(0)]


class _ArgmaxBonus(Chain):
    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        return torch.nn.functional.one_hot(own.argmax(-1), own.shape[-1]).to(own.dtype)


class _HotBonus(Chain):
    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        return own**0.9


class _StaleBonus(Chain):
    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        rows, before = torch.arange(len(kept)), (kept - 1).clamp_min(0)
        left = (p[rows, before] - q[rows, before]).clamp_min(0)
        return torch.where(left.sum(-1, keepdim=True) > 0, left, own)


class _ArgmaxCorrection(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        left = (p - q).clamp_min(0)
        return torch.nn.functional.one_hot(left.argmax(-1), p.shape[-1]).to(p.dtype)


class _Counted(Chain):
    def count(self, success: torch.Tensor, call: ChainCall) -> torch.Tensor:
        inside = torch.arange(call.places)[None] < call.draft_lengths[:, None]
        return (success & inside).sum(1)


class _EmitsRejected(Chain):
    def emitted(self, call: ChainCall, kept: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        full = kept >= call.draft_lengths
        return super().emitted(call, torch.where(full, kept, kept + 1), extra)


class _Reused(Chain):
    def last_coin(self, call: ChainCall, coins: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return coins[
            torch.arange(len(kept)), torch.where(kept < call.draft_lengths, kept, call.places)
        ]


class _OneCoin(Chain):
    def successes(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, coins: torch.Tensor
    ) -> torch.Tensor:
        return super().successes(call, p, q, coins[:, :1].expand_as(coins))


class _PicksImpossible(Chain):
    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        sums = weights.cumsum(-1)
        return (sums < coin[:, None] * sums[:, -1:]).sum(-1).clamp_max(weights.shape[-1] - 1)


class _RoundsUp(Chain):
    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        sums = weights.cumsum(-1)
        return (sums <= (coin + 2.0**-24)[:, None] * sums[:, -1:]).sum(-1)


class _HalfSums(Chain):
    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return inverse((weights / weights.sum(-1, keepdim=True)).half().float(), coin)


class _NotNormalised(Chain):
    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        found = (weights.cumsum(-1) <= coin[:, None]).sum(-1)
        return found.clamp_max(weights.shape[-1] - 1)


class _LastIdLost(Chain):
    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return super().pick(weights, coin).clamp_max(weights.shape[-1] - 2)


class _FirstBlock(Chain):
    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        left = super().residual(p, q, token)
        return torch.where(torch.arange(p.shape[-1]) < 65_536, left, 0)


class _StatesOneMore(Chain):
    def __call__(self, call: ChainCall, /) -> Any:
        tokens = super().__call__(call)
        return tokens, (tokens >= 0).sum(1)


class _Unfilled(Chain):
    def emitted(self, call: ChainCall, kept: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        return super().emitted(call, kept, extra).clamp_min(0)


class _SoftOneHot(Chain):
    """For deterministic drafts: the rejected token keeps its mass."""

    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return p


class _HalfAgain(Chain):
    """For deterministic drafts: the coin is the square root of p."""

    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return coin * coin < p


_ONE_HOT = {"rule": "point-mass"}

PLANTED = (
    Planted(
        id="no-residual",
        title="the correction is drawn from p",
        make=_NoResidual,
        source="sglang PR 24128 and others",
    ),
    Planted(id="turned-residual", title="the residual is max(q − p, 0)", make=_TurnedResidual),
    Planted(id="absolute-residual", title="the residual is |p − q|", make=_AbsoluteResidual),
    Planted(
        id="softmax-residual", title="the residual is put through a softmax", make=_SoftmaxResidual
    ),
    Planted(
        id="partial-residual",
        title="the residual subtracts the rejected token's mass alone",
        make=_PartialResidual,
        source="EAGLE",
    ),
    Planted(
        id="without-rejected",
        title="the residual is p without the rejected token",
        make=_WithoutRejected,
    ),
    Planted(id="inverted", title="the ratio is q/p", make=_Inverted),
    Planted(id="keeps-all", title="every drafted token is kept", make=_KeepsAll),
    Planted(id="no-coin", title="a token is kept where p ≥ q", make=_NoCoin),
    Planted(id="argmax-only", title="a token is kept where it is the argmax", make=_ArgmaxOnly),
    Planted(
        id="lenient",
        title="the ratio is p / 0.9 q",
        make=_Lenient,
        source="lucidrains/speculative-decoding",
    ),
    Planted(id="strict", title="the ratio is 0.9 p / q, the residual unchanged", make=_Strict),
    Planted(id="epsilon", title="q + 10⁻⁵ in the ratio", make=_AlmostRight),
    Planted(
        id="as-deterministic",
        title="sampled drafts are judged by q = 1, the residual by q",
        make=_AsDeterministic,
    ),
    Planted(id="next-row", title="coins read the target's next row", make=_NextRow),
    Planted(
        id="row-before", title="everything reads the target's row before its own", make=_RowBefore
    ),
    Planted(
        id="draft-row-before",
        title="everything reads the draft model's row before its own",
        make=_DraftRowBefore,
    ),
    Planted(
        id="correction-row",
        title="the correction reads the target's next row",
        make=_CorrectionRow,
        source="transformers PR 28166",
    ),
    Planted(id="bonus-row", title="the bonus reads the row before its own", make=_BonusRow),
    Planted(id="argmax-bonus", title="the bonus is the argmax", make=_ArgmaxBonus),
    Planted(
        id="hot-bonus",
        title="the bonus has another temperature",
        make=_HotBonus,
        source="EAGLE evaluate_posterior, 2023-12 to 2025-05",
    ),
    Planted(
        id="stale-bonus",
        title="the bonus comes from the last residual",
        make=_StaleBonus,
        source="EAGLE 2f982e2",
    ),
    Planted(
        id="argmax-correction",
        title="the correction is the argmax of the residual",
        make=_ArgmaxCorrection,
    ),
    Planted(
        id="counted",
        title="tokens are counted as kept after a rejection",
        make=_Counted,
        source="vllm PR 2658",
    ),
    Planted(id="emits-rejected", title="the rejected token is emitted", make=_EmitsRejected),
    Planted(
        id="reused-uniform",
        title="the rejecting uniform picks the correction",
        make=_Reused,
        source="flashinfer PR 424, sglang PR 7207",
    ),
    Planted(id="one-coin", title="one uniform for all coins of a row", make=_OneCoin),
    Planted(
        id="keeps-impossible",
        title="u ≤ p/q: at u = 0 a token with p = 0 is kept",
        make=_KeepsImpossible,
        source="vllm generate_uniform_probs",
    ),
    Planted(
        id="picks-impossible",
        title="at u = 0 the first id is picked whatever its weight",
        make=_PicksImpossible,
    ),
    Planted(
        id="rounds-up",
        title="a uniform just below 1 is rounded to 1: an id past the end is picked",
        make=_RoundsUp,
    ),
    Planted(
        id="half-sums", title="the correction's weights are rounded to float16", make=_HalfSums
    ),
    Planted(id="not-normalised", title="the residual is not normalised", make=_NotNormalised),
    Planted(id="last-id-lost", title="the last id is never picked", make=_LastIdLost),
    Planted(id="first-block", title="the residual reads the first 65,536 ids", make=_FirstBlock),
    Planted(
        id="states-one-more",
        title="the bonus is counted as accepted",
        make=_StatesOneMore,
        source="sglang PR 23530",
    ),
    Planted(
        id="unfilled",
        title="rows are filled with id 0 after their end",
        make=_Unfilled,
        source="EAGLE b09a256",
    ),
    Planted(
        id="rejected-keeps-mass",
        title="one-hot drafts: the rejected token keeps its mass",
        make=_SoftOneHot,
        facts=_ONE_HOT,
    ),
    Planted(
        id="soft-coin", title="one-hot drafts: the coin is √p", make=_HalfAgain, facts=_ONE_HOT
    ),
    Planted(
        id="residual-of-few",
        title="the residual is cut to its 50 largest ids",
        make=_FewLikeliest,
    ),
    Planted(
        id="drawn-no-residual",
        title="the correction is drawn from p, own randomness",
        make=_NoResidual,
        facts={"randomness": "own"},
    ),
    Planted(
        id="drawn-lenient",
        title="the ratio is p / 0.9 q, own randomness",
        make=_Lenient,
        facts={"randomness": "own"},
    ),
    Planted(
        id="drawn-hot-bonus",
        title="the bonus has another temperature, own randomness",
        make=_HotBonus,
        facts={"randomness": "own"},
    ),
)
"""The faults, from the plain to the rare."""
