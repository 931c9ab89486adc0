"""One small tree, scored before decoding begins: a model that cannot score trees shows it here."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.errors import ModelError
from draftproof.models.calling import TRIES, first_line
from draftproof.models.checked import deviation, tolerance
from draftproof.models.families import explained
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.moved import MovedLM
from draftproof.models.protocol import CausalLM
from draftproof.models.widened import WidenedLM
from draftproof.tree import ROOT

_BETWEEN = 6
"""Siblings between the twins: by so many places would a model be wrong that counts them."""


def probe_tree_scoring(model: HuggingFaceLM | WidenedLM | MovedLM) -> None:
    """Refuse a model that scores a small tree otherwise than it scores the tree's paths alone.

    Two siblings propose the same token, with others between them, and each has a child that
    proposes the same token. The logits after both, and after both children, must agree: both
    branches are seen in one forward pass, at the same positions, below the same ancestors. They do
    not where positions are counted along the cache, where branches see each other, or where a
    state passes from one to the next. They must also be those of a recompute from scratch, in
    which the model makes positions and masks itself, and so must the logits after a token that
    follows the second branch once that is committed.

    Rounding may tip a mixture of experts over; only what comes back with other tokens is a fault.

    Args:
        model: Reset before and after.

    Raises:
        ModelError: Names what disagrees, or what the model's own code says.
    """
    problem = tree_problem(model)
    if problem is not None:
        with explained(model.model):
            raise ModelError(f"cannot score a tree: {problem}")


def tree_problem(model: CausalLM) -> str | None:
    """What is wrong with a model's scores of a small tree; None if nothing is.

    Args:
        model: Reset before and after.
    """
    problems = []
    try:
        for first in range(TRIES):
            problem = _problem(model, first)
            if problem is None:
                return None
            problems.append(problem)
    except Exception as error:  # whatever an architecture dislikes about a mask or a cache
        return first_line(error)
    finally:
        model.reset()
    return problems[0]


def _problem(model: CausalLM, first: int) -> str | None:
    """What is wrong with the model, seen with tokens from `first` on; None if nothing is."""
    tokens = [(first + offset) % model.vocabulary_size for offset in range(_BETWEEN + 4)]
    prefix, twin, child = tokens[:2], tokens[2], tokens[3]
    siblings = (twin, *tokens[4:], twin)
    last = len(siblings) - 1
    if len(prefix) + 3 > model.max_length:
        return None
    model.reset()
    after_prefix = model.advance(prefix)
    logits = model.score((*siblings, child, child), (*[ROOT] * len(siblings), 0, last))
    expected = len(prefix) + len(logits)
    entries = {*getattr(model, "cache_lengths", (expected,))}
    if entries != {expected}:
        return f"its layers cache {sorted(entries)} entries where {expected} tokens were scored"
    for what, one, other in (("siblings", 0, last), ("children of equal siblings", -2, -1)):
        if deviation(logits[one], logits[other]) > tolerance(logits.dtype):
            difference = float((logits[one] - logits[other]).abs().max())
            return f"it tells equal {what} apart, by {difference:.3g} in their logits"
    path = [*prefix, twin, child, twin]
    model.commit((last, len(siblings) + 1))
    [after_path] = model.score([twin], [ROOT])
    found = [after_prefix, logits[last], logits[-1], after_path]
    return _other_than_alone(found, model.recompute(path, len(prefix) - 1), path)


def _other_than_alone(
    found: Sequence[torch.Tensor], alone: torch.Tensor, path: Sequence[int]
) -> str | None:
    for row, expected in zip(found, alone, strict=True):
        if (far := deviation(row, expected)) > tolerance(expected.dtype):
            return (
                f"the logits along a path of it differ by {far:.3g} standard deviations from those "
                f"of the same {len(path)} tokens without a tree"
            )
    return None
