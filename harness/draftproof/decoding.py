"""Plain and speculative decoding, as the papers write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from draftproof.acceptance.protocol import Acceptance, AcceptanceRule
from draftproof.config import Sampling
from draftproof.drafting.protocol import Draft, Drafter, FeatureDrafter
from draftproof.errors import ModelError, UsageError
from draftproof.models.protocol import CausalLM, FeatureLM, no_features
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw
from draftproof.stopping import Stopping, StopReason
from draftproof.tree import ROOT, DraftTree


@dataclass(frozen=True, slots=True)
class Output:
    """What decoding returned.

    Attributes:
        token_ids: The committed tokens after the prompt, a stop token included.
        stop_reason: Why it ended.
    """

    token_ids: tuple[int, ...]
    stop_reason: StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: one target forward pass over one draft.

    Attributes:
        sequence: Prompt and output before the step; the last token is the root.
        law: What tokens are drawn from, given logits.
        draft: What was proposed.
        target_logits: ``[n + 1, vocabulary]``: row 0 after the root, ``i + 1`` after node ``i``.
        target_probabilities: The same after temperature and filters.
        acceptance: What the rule kept.
    """

    sequence: tuple[int, ...]
    law: TokenLaw
    draft: Draft
    target_logits: Float[torch.Tensor, "nodes_and_root vocabulary"]
    target_probabilities: Float[torch.Tensor, "nodes_and_root vocabulary"]
    acceptance: Acceptance

    @property
    def root_position(self) -> int:
        """Position of the root in the sequence, prompt included, from 0."""
        return len(self.sequence) - 1

    @property
    def emitted(self) -> tuple[int, ...]:
        """The kept tokens and the extra token, before stop and length truncation."""
        return (*self.draft.tree.tokens(self.acceptance.path), self.acceptance.extra_token)


Observer = Callable[[Step, tuple[int, ...]], None]
"""Called after each step with the tokens that it added to the output."""

LawFactory = Callable[[Sampling, int, frozenset[int]], TokenLaw]
"""From the settings, the prompt's length and the stop tokens to what tokens are drawn from."""


def ignore(step: Step, committed: tuple[int, ...]) -> None:
    """The observer that does nothing."""


def plain_decode(
    prompt: Sequence[int],
    target: CausalLM,
    *,
    sampling: Sampling,
    stopping: Stopping,
    randomness: Randomness,
) -> Output:
    """What the target alone produces: one token, one forward pass.

    Args:
        prompt: ``[≥ 1]`` token ids.
        target: Reset and then advanced.
        sampling: Temperature and filters.
        stopping: Where the output ends.
        randomness: Draws with `Purpose.PLAIN`.

    Raises:
        UsageError: The prompt is empty.
        ModelError: The prompt leaves no room in the target's context.
    """
    stopping = within_context(stopping, prompt, target)
    law = TokenLaw(sampling, len(prompt), stopping.stop_token_ids)
    target.reset()
    sequence = list(prompt)
    unseen = prompt
    while True:
        token = _draw(target.advance(unseen), sequence, law, randomness)
        unseen, stop_reason = stopping.cut(sequence[len(prompt) :], (token,))
        sequence.extend(unseen)
        if stop_reason is not None:
            return Output(tuple(sequence[len(prompt) :]), stop_reason)


def speculate(
    prompt: Sequence[int],
    target: CausalLM,
    drafter: Drafter,
    rule: AcceptanceRule,
    *,
    sampling: Sampling,
    stopping: Stopping,
    randomness: Randomness,
    observe: Observer = ignore,
    make_law: LawFactory = TokenLaw,
) -> Output:
    """What the target produces with a drafter's help; with a lossless rule, the same law.

    Each step drafts a tree, verifies it in one target forward pass, accepts a path and commits it.

    Args:
        prompt: ``[≥ 1]`` token ids.
        target: Reset and then advanced.
        drafter: Proposes; started anew with the prompt.
        rule: Decides what is kept.
        sampling: Temperature and filters, of the target's distributions.
        stopping: Where the output ends, also inside a block.
        randomness: Draws for every purpose.
        observe: Called after each step.
        make_law: Makes what logits become probabilities by; another one than `TokenLaw` is one
            that is under test.

    Raises:
        UsageError: The prompt is empty, or the drafter reads hidden states that the target does not
            tell.
        ModelError: The prompt leaves no room in the target's context.
        DraftError: The rule is not valid for the drafter's proposal law.
    """
    stopping = within_context(stopping, prompt, target)
    law = make_law(sampling, len(prompt), stopping.stop_token_ids)
    first = draw_first(prompt, target, drafter, law, randomness)
    committed, stop_reason = stopping.cut((), (first,))
    sequence = [*prompt, *committed]
    while stop_reason is None:
        step = take_step(sequence, target, drafter, rule, law=law, randomness=randomness)
        committed, stop_reason = stopping.cut(sequence[len(prompt) :], step.emitted)
        sequence.extend(committed)
        observe(step, committed)
    return Output(tuple(sequence[len(prompt) :]), stop_reason)


def draw_first(
    prompt: Sequence[int],
    target: CausalLM,
    drafter: Drafter,
    law: TokenLaw,
    randomness: Randomness,
) -> int:
    """Prefill both sides and draw the first token, which the target decides alone.

    Mutates: target and drafter hold the prompt and nothing else.
    """
    if isinstance(target, FeatureLM):
        target.watch(target_layers(drafter))
    elif target_layers(drafter):
        raise no_features(target)
    target.reset()
    drafter.start(prompt)
    return _draw(target.advance(prompt), prompt, law, randomness)


def target_layers(drafter: Drafter) -> Sequence[int]:
    """Layers of the target whose hidden states a drafter reads."""
    return drafter.target_layers if isinstance(drafter, FeatureDrafter) else ()


def take_step(
    sequence: Sequence[int],
    target: CausalLM,
    drafter: Drafter,
    rule: AcceptanceRule,
    *,
    law: TokenLaw,
    randomness: Randomness,
) -> Step:
    """Draft, verify, accept, commit.

    Args:
        sequence: Prompt and output so far; the last token is the root, which the target has not
            committed yet.
        target: Verifies. Mutated: commits the root and the kept path.
        drafter: Proposes. Mutated: told of the kept path.
        rule: Decides what is kept.
        law: What tokens are drawn from, given logits.
        randomness: Draws for every purpose.
    """
    room = target.max_length - len(sequence)
    if isinstance(drafter, FeatureDrafter) and drafter.target_layers:
        assert isinstance(target, FeatureLM), "seen when the sequence was begun"
        drafter.read(target.take_features())
    draft = drafter.draft(sequence, room, law, randomness)
    logits = verify(target, sequence[-1], draft)
    probabilities = law.distributions(logits, lambda: contexts(sequence, draft.tree))
    acceptance = rule.accept(draft, probabilities, randomness)
    target.commit([0, *(node + 1 for node in acceptance.path)])
    drafter.commit(acceptance.path)
    return Step(
        sequence=tuple(sequence),
        law=law,
        draft=draft,
        target_logits=logits,
        target_probabilities=probabilities,
        acceptance=acceptance,
    )


def verify(
    target: CausalLM, root_token: int, draft: Draft
) -> Float[torch.Tensor, "nodes_and_root vocabulary"]:
    """The target's logits after the root and after every node, in one forward pass.

    Mutates: the target's pending nodes: the root is pending node 0, node ``i`` is ``i + 1``.
    """
    tree = draft.tree
    return target.score(
        (root_token, *tree.token_ids), (ROOT, *(parent + 1 for parent in tree.parents))
    )


def contexts(sequence: Sequence[int], tree: DraftTree) -> list[list[int]]:
    """The tokens before each row of `verify`: up to the root, and up to every node."""
    paths = ((), *(tree.path_to(node) for node in range(len(tree))))
    return [[*sequence, *tree.tokens(path)] for path in paths]


@runtime_checkable
class HasContext(Protocol):
    """A model whose context has a length: `max_length` tokens at most."""

    max_length: int


def within_context(stopping: Stopping, prompt: Sequence[int], target: HasContext) -> Stopping:
    """The stopping rule with its length limit cut to what the target's context has room for.

    Raises:
        UsageError: The prompt is empty.
        ModelError: There is no room for a single new token.
    """
    if not prompt:
        raise UsageError("the prompt has no tokens; a model needs at least one to start from")
    room = target.max_length - len(prompt)
    if room < 1:
        raise ModelError(
            f"the prompt has {len(prompt)} tokens and the target's context holds "
            f"{target.max_length}; shorten the prompt"
        )
    return replace(stopping, max_new_tokens=min(stopping.max_new_tokens, room))


def _draw(
    logits: torch.Tensor, sequence: Sequence[int], law: TokenLaw, randomness: Randomness
) -> int:
    probabilities = law.distributions(logits[None], lambda: [sequence])
    return randomness.categorical(probabilities[0], Purpose.PLAIN)
