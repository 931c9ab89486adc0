"""Stand-ins that pass everything on, for a subclass to get one thing wrong in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float

from draftproof.acceptance import Acceptance, AcceptanceRule
from draftproof.config import RunConfig
from draftproof.drafting import Draft, Drafter
from draftproof.engines.parts import Parts
from draftproof.laws import ProposalLaw
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw
from draftproof.selftest.mutant import Plant


class WrappedLM:
    """A `CausalLM` whose work another one does.

    Its count of committed tokens may leave the other one's: `missed` tokens are counted here and
    are not in the other one's cache.
    """

    def __init__(self, model: CausalLM) -> None:
        self.inner = model
        self.missed = 0
        self.vocabulary_size = model.vocabulary_size
        self.max_length = model.max_length

    @property
    def length(self) -> int:
        return self.inner.length + self.missed

    def reset(self) -> None:
        self.missed = 0
        self.inner.reset()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        return self.inner.advance(token_ids)

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        return self.inner.score(token_ids, parents)

    def commit(self, path: Sequence[int]) -> None:
        self.inner.commit(path)

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self.inner.recompute(token_ids, first)


class WrappedDrafter:
    """A `Drafter` whose work another one does."""

    def __init__(self, drafter: Drafter, config: RunConfig) -> None:
        self.inner = drafter
        self.sampling = config.sampling
        self.law: ProposalLaw = drafter.law

    def start(self, prompt: Sequence[int]) -> None:
        self.inner.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        return self.inner.draft(sequence, room, law, randomness)

    def commit(self, path: Sequence[int]) -> None:
        self.inner.commit(path)


class WrappedRule:
    """An `AcceptanceRule` whose work another one does."""

    def __init__(self, rule: AcceptanceRule) -> None:
        self.inner = rule
        self.name = rule.name

    def accept(
        self,
        draft: Draft,
        target: Float[torch.Tensor, "nodes_and_root vocabulary"],
        randomness: Randomness,
    ) -> Acceptance:
        return self.inner.accept(draft, target, randomness)


class Reweighted:
    """A `Randomness` that draws tokens from other weights than it is given."""

    def __init__(self, inner: Randomness, weigh: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._inner = inner
        self._weigh = weigh

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        return self._inner.bernoulli(probability, purpose)

    def categorical(
        self, probabilities: Float[torch.Tensor, " vocabulary"], purpose: Purpose
    ) -> int:
        return self._inner.categorical(self._weigh(probabilities), purpose)


def sampled_rule(make: Callable[[], AcceptanceRule]) -> Plant:
    """A wrong rule above temperature 0, as most engines have a path of its own at 0."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return parts if config.sampling.greedy else replace(parts, rule=make())

    return plant


def around_rule(wrap: Callable[[AcceptanceRule], AcceptanceRule]) -> Plant:
    """A wrong rule around the sound one, at every temperature."""
    return lambda parts, config: replace(parts, rule=wrap(parts.rule))


def around_drafter(wrap: Callable[[Drafter, RunConfig], Drafter]) -> Plant:
    """A wrong drafter around the sound one."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, drafter=wrap(parts.drafter, config), new_drafter=None)

    return plant


def sampled_drafter(wrap: Callable[[Drafter, RunConfig], Drafter]) -> Plant:
    """A wrong drafter above temperature 0."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return parts if config.sampling.greedy else around_drafter(wrap)(parts, config)

    return plant


def target_model(wrap: Callable[[CausalLM], CausalLM]) -> Plant:
    """A wrong target."""
    return lambda parts, config: replace(parts, target=wrap(parts.target))


def draft_model(wrap: Callable[[CausalLM], CausalLM]) -> Plant:
    """A wrong draft model, with a sound drafter on it."""
    from draftproof.drafting import make_drafter

    def plant(parts: Parts, config: RunConfig) -> Parts:
        draft = wrap(parts.draft_model)
        return replace(parts, draft=draft, drafter=make_drafter(config.tree, draft))

    return plant


def verifying_law(make: type[TokenLaw]) -> Plant:
    """A wrong law of verified tokens; drafters and the first token see the sound one.

    The wrong one is told from the sound one by the number of rows: a block that is verified has the
    root and at least one node.
    """

    def plant(parts: Parts, config: RunConfig) -> Parts:
        drafter = SoundLawDrafter(parts.drafter, config)
        return replace(parts, make_law=make, drafter=drafter)

    return plant


class SoundLawDrafter(WrappedDrafter):
    """Drafts by the sound law, whatever the target's tokens are drawn by."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        sound = TokenLaw(law.sampling, law.prompt_length, law.stop_token_ids)
        return self.inner.draft(sequence, room, sound, randomness)


def greedy_only(make: type[AcceptanceRule]) -> Plant:
    """A wrong rule at temperature 0 only."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, rule=make()) if config.sampling.greedy else parts

    return plant


class Replaced:
    """A `Randomness` that draws tokens for one purpose from another distribution."""

    def __init__(
        self, inner: Randomness, purpose: Purpose, law: Callable[[], torch.Tensor | None]
    ) -> None:
        self._inner = inner
        self._purpose = purpose
        self._law = law

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        return self._inner.bernoulli(probability, purpose)

    def categorical(
        self, probabilities: Float[torch.Tensor, " vocabulary"], purpose: Purpose
    ) -> int:
        other = self._law() if purpose is self._purpose else None
        return self._inner.categorical(probabilities if other is None else other, purpose)


def normalised(weights: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """Weights that add up to 1; another distribution where there is none."""
    total = float(weights.sum())
    return weights / total if total > 0 else otherwise
