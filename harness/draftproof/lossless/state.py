"""State equivalence: what a step saw of both models equals a recompute of the sequence it stood on.

The only instrument that sees faults which leave the output lossless and merely cost acceptance: a
draft model that misses a token, a cache entry at the wrong position, an n-gram table left over from
the request before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float

from draftproof.decoding import Step
from draftproof.drafting.protocol import Drafter
from draftproof.errors import StateError
from draftproof.models.checked import require_same_logits
from draftproof.models.protocol import CausalLM
from draftproof.randomness import SeededRandomness
from draftproof.tree import ROOT, children

_GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it, modulo 1, fall evenly whatever the period of what they are compared with."""


class StepChecker:
    """An observer for `speculate` that recomputes a share of the steps, and fails if one differs.

    A checked step is followed down one path of its draft, from the root to a leaf: the target's
    logits along it, and the draft model's where it has been asked, are compared with those of a
    forward pass over the whole sequence without a cache. A drafter without a model must propose
    what a new one proposes that has seen nothing but this sequence.

    Args:
        target: The verifying model.
        draft: The draft model; None for a drafter without one.
        new_drafter: Makes a drafter like the one that is checked, to compare proposals where there
            is no draft model; None where that cannot be done.
        share: Of all steps, in (0, 1].

    Attributes:
        checked: Steps that were checked.

    Raises:
        StateError: By calling it: names the model, the step and the node that differ.
    """

    def __init__(
        self,
        target: CausalLM,
        draft: CausalLM | None,
        *,
        new_drafter: Callable[[], Drafter] | None,
        share: float,
    ) -> None:
        self._target = target
        self._draft = draft
        self._new_drafter = new_drafter
        self._share = share
        self._seen = 0
        self.checked = 0

    def __call__(self, step: Step, committed: tuple[int, ...]) -> None:
        """Check a step, if it is one of the share."""
        if self.is_next():
            self.check(step)

    def is_next(self) -> bool:
        """Whether the next step, which is counted here, is one of the share."""
        self._seen += 1
        return (self._seen * _GOLDEN_RATIO) % 1.0 < self._share

    def check(self, step: Step) -> None:
        """Check a step."""
        self.checked += 1
        draft, tree = step.draft, step.draft.tree
        has_children = children(tree.parents)
        leaves = [node for node in range(len(tree)) if node not in has_children] or [ROOT]
        path = tree.path_to(leaves[self.checked % len(leaves)])
        scored = step.target_logits[[0, *(node + 1 for node in path)]]
        self._compare("target", self._target, step.sequence, tree.tokens(path), scored)
        if draft.logits is None:
            self._check_proposal(step)
        elif path and self._draft is not None:
            # The rows of `draft.logits` are those of parents, so the leaf has none.
            scored = draft.logits[[draft.rows[node] for node in path]]
            self._compare("draft model", self._draft, step.sequence, tree.tokens(path[:-1]), scored)

    def _compare(
        self,
        role: str,
        model: CausalLM,
        sequence: Sequence[int],
        path: Sequence[int],
        found: Float[torch.Tensor, "rows vocabulary"],
    ) -> None:
        """Compare the rows after the root and after each token of a path."""
        expected = model.recompute([*sequence, *path], len(sequence) - 1)
        for depth, (row, recomputed) in enumerate(zip(found, expected, strict=True)):
            require_same_logits(
                row,
                recomputed,
                f"{role}: after {len(sequence)} tokens, at depth {depth} of the draft",
            )

    def _check_proposal(self, step: Step) -> None:
        if self._new_drafter is None:
            return
        drafter = self._new_drafter()
        drafter.start(step.sequence[: step.law.prompt_length])
        room = self._target.max_length - len(step.sequence)
        fresh = drafter.draft(step.sequence, room, step.law, SeededRandomness(0, "state check"))
        if fresh.tree != step.draft.tree:
            raise StateError(
                f"drafter: after {len(step.sequence)} tokens it proposes "
                f"{step.draft.tree.token_ids}, and a new one that has seen nothing but this "
                f"sequence {fresh.tree.token_ids}: something is left over from an earlier request"
            )
