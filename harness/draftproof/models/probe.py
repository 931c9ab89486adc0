"""One small tree, scored before decoding begins: a model that cannot score trees shows it here."""

from __future__ import annotations

from draftproof.errors import ModelError
from draftproof.models.checked import deviation, tolerance
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.widened import WidenedLM
from draftproof.tree import ROOT

_INSTEAD = "use a model whose layers are plain attention, such as those in `draftproof docs models`"
_TRIES = 3
_BETWEEN = 6
"""Siblings between the twins: by so many places would a model be wrong that counts them."""


def probe_tree_scoring(model: HuggingFaceLM | WidenedLM) -> None:
    """Refuse a model that treats two equal branches of one tree differently.

    Two siblings propose the same token, with others between them, and each has a child that
    proposes the same token. The logits after both, and after both children, must agree: both
    branches are seen in one forward pass, at the same positions, below the same ancestors. They do
    not where positions are counted along the cache, where branches see each other, or where a
    state passes from one to the next.

    Rounding may tip a mixture of experts over; only what comes back with other tokens is a fault.

    Args:
        model: Reset before and after.

    Raises:
        ModelError: Names what disagrees, or what the model's own code says.
    """
    name = type(model.model).__name__
    try:
        model.reset()
        model.advance([0])
    except Exception as error:
        raise ModelError(f"{name} does not run: {_first_line(error)}") from error
    try:
        problems = [_problem(model, first) for first in range(_TRIES)]
    except Exception as error:
        # Whatever an architecture dislikes about a mask, a cache or positions of one's own.
        raise ModelError(f"{name} cannot score a tree: {_first_line(error)}; {_INSTEAD}") from error
    finally:
        model.reset()
    if all(problems):
        raise ModelError(f"{name} cannot score a tree: {problems[0]}; {_INSTEAD}")


def _problem(model: HuggingFaceLM | WidenedLM, first: int) -> str | None:
    """What is wrong with the model, seen with tokens from `first` on; None if nothing is."""
    tokens = [(first + offset) % model.vocabulary_size for offset in range(_BETWEEN + 4)]
    prefix, twin, child = tokens[:2], tokens[2], tokens[3]
    siblings = (twin, *tokens[4:], twin)
    last = len(siblings) - 1
    if len(prefix) + 2 > model.max_length:
        return None
    model.reset()
    model.advance(prefix)
    logits = model.score((*siblings, child, child), (*[ROOT] * len(siblings), 0, last))
    entries = {*model.cache_lengths}
    expected = len(prefix) + len(logits)
    if entries != {expected}:
        return f"its layers cache {sorted(entries)} entries where {expected} tokens were scored"
    for what, one, other in (("siblings", 0, last), ("children of equal siblings", -2, -1)):
        if deviation(logits[one], logits[other]) > tolerance(logits.dtype):
            difference = float((logits[one] - logits[other]).abs().max())
            return f"it tells equal {what} apart, by {difference:.3g} in their logits"
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
