"""Lossless controls: unusual, and right. No instrument may flag one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from draftproof.acceptance import Acceptance, PointMassRule
from draftproof.config import RunConfig
from draftproof.drafting import Draft, Drafter
from draftproof.engines.parts import Parts
from draftproof.laws import ProposalLaw
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw
from draftproof.selftest.mutant import FaultClass, Mutant
from draftproof.selftest.numerics import NoisyBlocks
from draftproof.selftest.randomness import OneStream, drawn_by
from draftproof.selftest.wrapping import (
    WrappedDrafter,
    sampled_drafter,
    target_model,
)

Laws = Float[torch.Tensor, "nodes_and_root vocabulary"]


class ToldAsFixed(WrappedDrafter):
    """A drawn draft, told as a deterministic one: its q is not used."""

    def __init__(self, drafter: Drafter, config: RunConfig) -> None:
        super().__init__(drafter, config)
        self.law = ProposalLaw.DETERMINISTIC

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        draft = self.inner.draft(sequence, room, law, randomness)
        return replace(draft, tree=replace(draft.tree, law=self.law), probabilities=None)


class MatchRule:
    """Draws the target's own token, and keeps the draft while it says the same."""

    name = "match"

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        tree = draft.tree
        for node, token in enumerate(tree.token_ids):
            own = randomness.categorical(target[node], Purpose.CORRECTION)
            if own != token:
                kept = tuple(range(node))
                return Acceptance(path=kept, extra_token=own, reached=tuple(range(node + 1)))
        nodes = tuple(range(len(tree)))
        bonus = randomness.categorical(target[len(tree)], Purpose.BONUS)
        return Acceptance(path=nodes, extra_token=bonus, reached=nodes)


class OwnSettings(WrappedDrafter):
    """Drafts at a temperature and with a filter of its own, and tells the q it drew from."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        sampling = replace(law.sampling, temperature=0.6, top_k=12)
        own = TokenLaw(sampling, law.prompt_length, law.stop_token_ids)
        return self.inner.draft(sequence, room, own, randomness)


class SharedNoise:
    """Gumbel noise by position, which the drafter and the rule both draw with."""

    def __init__(self) -> None:
        self.position = 0
        self.seed: int | None = None

    def draw(self, law: Float[torch.Tensor, " vocabulary"], position: int) -> int:
        """The token that the noise of a position chooses from a distribution."""
        generator = torch.Generator().manual_seed((self.seed or 0) * 1_000_003 + position)
        uniform = torch.rand(len(law), generator=generator, dtype=torch.float64)
        return int((law.double().log() - (-uniform.log()).log()).argmax())


class _AtPositions:
    """A `Randomness` that draws by shared noise."""

    def __init__(self, noise: SharedNoise, first: int) -> None:
        self._noise = noise
        self._next = first

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        raise RuntimeError("noise by position decides tokens, not coins")

    def categorical(self, probabilities: torch.Tensor, purpose: Purpose) -> int:
        self._next += 1
        return self._noise.draw(probabilities, self._next - 1)


class NoisyDrafter(WrappedDrafter):
    """L10: draws its tokens by the noise of their positions."""

    def __init__(self, drafter: Drafter, config: RunConfig, noise: SharedNoise) -> None:
        super().__init__(drafter, config)
        self._noise = noise

    def start(self, prompt: Sequence[int]) -> None:
        self._noise.seed = None
        self.inner.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        if self._noise.seed is None:
            self._noise.seed = randomness.categorical(torch.ones(4096), Purpose.DRAFT)
        self._noise.position = len(sequence)
        shared = _AtPositions(self._noise, len(sequence))
        return self.inner.draft(sequence, room, law, shared)


class SharedNoiseRule(MatchRule):
    """L10: the target's own token, drawn by the noise that the draft was drawn by."""

    def __init__(self, noise: SharedNoise) -> None:
        self._noise = noise

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        return super().accept(draft, target, _AtPositions(self._noise, self._noise.position))


def _one_hot(parts: Parts, config: RunConfig) -> Parts:
    """L01."""
    if config.sampling.greedy:
        return parts
    return replace(parts, drafter=ToldAsFixed(parts.drafter, config), rule=PointMassRule())


def _match(parts: Parts, config: RunConfig) -> Parts:
    """L02."""
    return parts if config.sampling.greedy else replace(parts, rule=MatchRule())


def _shared_noise(parts: Parts, config: RunConfig) -> Parts:
    """L10."""
    if config.sampling.greedy:
        return parts
    noise = SharedNoise()
    return replace(
        parts,
        drafter=NoisyDrafter(parts.drafter, config, noise),
        rule=SharedNoiseRule(noise),
    )


_SOUND = "production code"


_planted = partial(Mutant, fault_class=FaultClass.CONTROL, lossless=True)

CONTROLS: tuple[Mutant, ...] = (
    _planted(
        id="L01",
        title="one-hot rule on a drawn draft",
        source="vllm-project/vllm #40149",
        plant=_one_hot,
    ),
    _planted(
        id="L02",
        title="the target's own draw, kept while it matches",
        source="lablup/mlxcel PR 992, ml-explore/mlx-swift-lm PR 459",
        plant=_match,
    ),
    _planted(
        id="L03",
        title="deterministic siblings with q = 1, renormalised",
        source="SafeAILab/EAGLE #171, #283",
        tree="2x2",
        small_tree="1x2",
    ),
    _planted(
        id="L04",
        title="draft temperature and filter of its own, q told as drawn",
        source="huggingface/transformers PR 40976",
        plant=sampled_drafter(OwnSettings),
    ),
    _planted(
        id="L05",
        title="near-ties that rounding flips (N04)",
        source="vllm-project/vllm #54506, huggingface/transformers #39421",
        plant=target_model(lambda model: NoisyBlocks(model, 0.0001)),
        transformer=True,
    ),
    _planted(
        id="L06",
        title="block verification",
        source="arXiv 2403.10444",
        rule="block",
    ),
    _planted(
        id="L07",
        title="drafts past a stop token, then discarded",
        source=_SOUND,
        tree="chain:7",
        small_tree="chain:2",
    ),
    _planted(
        id="L08",
        title="temperature 0 output that no seed changes",
        source="vllm-project/vllm #13196",
    ),
    _planted(
        id="L09",
        title="long drafts of a low acceptance rate",
        source="Blackwellboy/model-serving-minefield #98",
        tree="chain:8",
        small_tree="chain:2",
    ),
    _planted(
        id="L10",
        title="Gumbel noise shared by draft and target",
        source="vllm-project/vllm PR 47386",
        plant=_shared_noise,
        enumerable=False,
    ),
    _planted(
        id="R09",
        title="drafts and coins of one stream",
        source="Blaizzy/mlx-vlm PR 1188",
        plant=drawn_by(OneStream),
        enumerable=False,
    ),
    _planted(
        id="S-multi-round",
        title="sampled tree, multi-round",
        source=_SOUND,
        tree="sampled:2x2",
        small_tree="sampled:1x2",
    ),
    _planted(
        id="S-distinct",
        title="distinct siblings, without replacement",
        source=_SOUND,
        tree="distinct:2x2",
        small_tree="distinct:1x2",
    ),
    _planted(
        id="S-traversal",
        title="traversal verification",
        source=_SOUND,
        tree="distinct:2x2",
        small_tree="distinct:1x2",
        rule="traversal",
    ),
    _planted(
        id="S-best-first",
        title="best-first tree",
        source=_SOUND,
        tree="best-first:6,depth=3,branching=2",
        small_tree="best-first:3,depth=2,branching=2",
    ),
    _planted(
        id="S-lookup",
        title="prompt lookup",
        source=_SOUND,
        tree="lookup:4,ngram=2",
        small_tree="lookup:2,ngram=2",
    ),
    _planted(
        id="S-early-stop",
        title="a chain that ends where the draft model is unsure",
        source=_SOUND,
        tree="chain:4,stop=0.5",
        small_tree="chain:2,stop=0.5",
    ),
)
"""Every lossless control: reported ones (L, R), and this project's own ways of drafting (S)."""
