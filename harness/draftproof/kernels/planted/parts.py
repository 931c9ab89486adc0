"""Right kernels, each of whose lines a planted fault may exchange."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from draftproof.kernels.contract import ChainCall, Kernel, TreeCall

THOUGHT_OF = "thought of here"
"""The source of faults that no report names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A kernel with a planted fault, or a right one.

    Attributes:
        id: Names it in commands and tables.
        title: The fault in a few words.
        source: The public project that shipped it, or that it was thought of here.
        make: Makes the kernel.
        facts: What is declared of it.
        lossless: Whether nothing is wrong, so that no check may fail.
    """

    id: str
    title: str
    make: Callable[[], Kernel]
    source: str = THOUGHT_OF
    facts: dict[str, Any] = field(default_factory=dict)
    lossless: bool = False


OWN_DRAWS = {"randomness": "own"}
"""What is declared of a kernel that draws by itself."""


def both_ways(planted: Planted) -> tuple[Planted, Planted]:
    """The same kernel given uniforms, and drawing by itself; the second is called ``ID-own``."""
    own = replace(
        planted,
        id=f"{planted.id}-own",
        title=f"{planted.title}, own draws",
        facts=planted.facts | OWN_DRAWS,
    )
    return planted, own


def inverse(weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
    """The id at a uniform of the cumulative weights: the first whose sum exceeds it."""
    sums = weights.cumsum(-1)
    found = (sums <= coin[..., None] * sums[..., -1:]).sum(-1)
    last = weights.shape[-1] - 1 - (weights.flip(-1) > 0).long().argmax(-1)
    return torch.minimum(found, last)


class Chain:
    """Batched rejection sampling of chains, a method a line.

    Uniforms come from the call, from its generator, or from torch's own.
    """

    def __call__(self, call: ChainCall, /) -> Any:
        coins = self.coins(call)
        p, q = self.target(call), self.draft(call)
        kept = self.count(self.successes(call, p, q, coins), call)
        weights = self.weights(call, p, q, kept)
        extra = self.pick(weights, self.last_coin(call, coins, kept))
        return self.emitted(call, kept, extra)

    def coins(self, call: ChainCall) -> torch.Tensor:
        """``[rows, places + 1]`` uniforms."""
        if call.uniforms is not None:
            return call.uniforms
        rows = len(call.draft_tokens)
        device = call.draft_tokens.device
        return torch.rand((rows, call.places + 1), generator=call.generator, device=device)

    def target(self, call: ChainCall) -> torch.Tensor:
        """``[rows, places + 1, vocabulary]``."""
        return call.target_probabilities

    def draft(self, call: ChainCall) -> torch.Tensor:
        """``[rows, places + 1, vocabulary]``, the last place all 0; one-hot where not given."""
        q = call.draft_probabilities
        if q is None:
            hot = torch.nn.functional.one_hot(
                call.draft_tokens.clamp_min(0), call.target_probabilities.shape[-1]
            )
            q = hot.to(call.target_probabilities.dtype)
        return torch.nn.functional.pad(q, (0, 0, 0, 1))

    def successes(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, coins: torch.Tensor
    ) -> torch.Tensor:
        """``[rows, places]`` whether each drafted token's own coin keeps it."""
        at = call.draft_tokens.clamp_min(0)[..., None]
        drafted_p = p[:, : call.places].gather(-1, at)[..., 0]
        drafted_q = q[:, : call.places].gather(-1, at)[..., 0]
        return self.keeps(drafted_p, drafted_q, coins[:, : call.places])

    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        """Whether coins keep tokens of these probabilities."""
        return coin * q < p

    def count(self, success: torch.Tensor, call: ChainCall) -> torch.Tensor:
        """``[rows]`` accepted lengths."""
        places = torch.arange(call.places, device=success.device)
        inside = places[None] < call.draft_lengths[:, None]
        return (success & inside).long().cumprod(1).sum(1)

    def weights(
        self, call: ChainCall, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor
    ) -> torch.Tensor:
        """``[rows, vocabulary]`` of the extra token."""
        rows = torch.arange(len(kept), device=kept.device)
        own_p, own_q = p[rows, kept], q[rows, kept]
        full = kept >= call.draft_lengths
        token = torch.nn.functional.pad(call.draft_tokens.clamp_min(0), (0, 1))[rows, kept]
        left = self.residual(own_p, own_q, token)
        left = torch.where(left.sum(-1, keepdim=True) > 0, left, own_p)
        return torch.where(full[:, None], self.bonus(p, q, kept, own_p), left)

    def residual(self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Weights of the correction token."""
        return (p - q).clamp_min(0)

    def bonus(
        self, p: torch.Tensor, q: torch.Tensor, kept: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        """Weights of the bonus token."""
        return own

    def last_coin(self, call: ChainCall, coins: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """``[rows]`` the uniform that picks the extra token."""
        return coins[:, call.places]

    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        """The extra token."""
        return inverse(weights, coin)

    def emitted(self, call: ChainCall, kept: torch.Tensor, extra: torch.Tensor) -> torch.Tensor:
        """``[rows, places + 1]`` the kept tokens, the extra one, and −1."""
        places = torch.arange(call.places + 1, device=kept.device)[None]
        tokens = torch.nn.functional.pad(call.draft_tokens, (0, 1))
        out = torch.where(places < kept[:, None], tokens, -1)
        return torch.where(places == kept[:, None], extra[:, None], out)


class VectorTree:
    """Batched rejection of trees, sibling after sibling, a method a line.

    The node that a row stands at, and what its rejected children left of p and q, are kept a row.
    """

    narrows = False
    point_mass = False

    def __call__(self, call: TreeCall, /) -> Any:
        tokens, parents = call.tokens, call.parents
        rows, nodes = tokens.shape
        coins, every = self.coins(call), torch.arange(rows)
        target = call.target_probabilities
        draft = call.draft_probabilities
        at = torch.zeros(rows, dtype=torch.int64)
        p = target[:, 0].clone()
        q = torch.zeros_like(p) if draft is None else draft[:, 0].clone()
        out = torch.full((rows, nodes + 1), -1, dtype=torch.int64)
        length = torch.zeros(rows, dtype=torch.int64)
        for node in self.order(nodes):
            here = self.is_child(parents[:, node], at, node)
            token = tokens[:, node]
            own_p, own_q = p[every, token], q[every, token]
            kept = here & self.keeps(own_p, own_q, self.coin(coins, node), p)
            left_p, left_q = self.left(p, q, token)
            rejected = here & ~kept
            p = torch.where(rejected[:, None], left_p, p)
            q = torch.where(rejected[:, None], left_q, q)
            out[every[kept], length[kept]] = token[kept]
            length = length + kept.long()
            at = torch.where(kept, node + 1, at)
            p = torch.where(kept[:, None], self.entered(target, p, node), p)
            if draft is not None:
                q = torch.where(kept[:, None], draft[:, node + 1], q)
        out[every, length] = inverse(p, coins[:, nodes])
        return out

    def coins(self, call: TreeCall) -> torch.Tensor:
        """``[rows, nodes + 1]`` uniforms."""
        if call.uniforms is not None:
            return call.uniforms
        return torch.rand((len(call.tokens), call.tokens.shape[1] + 1), generator=call.generator)

    def order(self, nodes: int) -> range:
        """In which nodes are visited."""
        return range(nodes)

    def is_child(self, parent: torch.Tensor, at: torch.Tensor, node: int) -> torch.Tensor:
        """Whether rows stand at the parent of a node."""
        return parent + 1 == at

    def coin(self, coins: torch.Tensor, node: int) -> torch.Tensor:
        """``[rows]`` a node's uniform."""
        return coins[:, node]

    def keeps(
        self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor, law: torch.Tensor
    ) -> torch.Tensor:
        """Whether coins keep tokens of these probabilities."""
        if self.point_mass:
            return coin * law.sum(-1) < p
        return coin * q < p

    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a rejection leaves of p and q."""
        if self.point_mass:
            return p.scatter(1, token[:, None], 0.0), q
        rest = (p - q).clamp_min(0)
        total = rest.sum(-1, keepdim=True)
        rest = torch.where(total > 0, rest / total, p)
        return rest, self.narrowed(q, token)

    def narrowed(self, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """What the next sibling was drawn from."""
        if not self.narrows:
            return q
        q = q.scatter(1, token[:, None], 0.0)
        total = q.sum(-1, keepdim=True)
        return torch.where(total > 0, q / total, torch.ones_like(q))

    def entered(self, target: torch.Tensor, p: torch.Tensor, node: int) -> torch.Tensor:
        """The target's law after a kept node."""
        return target[:, node + 1]


class WithoutReplacementTree(VectorTree):
    """Siblings were drawn without replacement."""

    narrows = True


class PointMassTree(VectorTree):
    """Siblings are deterministic."""

    point_mass = True
