"""Which architectures score trees: those that are tested, and those known not to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel

from draftproof.errors import ModelError

TESTED = frozenset(
    "cohere2 deepseek_v2 deepseek_v3 falcon gemma gemma2 gemma3_text glm4 gpt2 gpt_neox "
    "gpt_oss gptj granite llama mistral mixtral olmo2 "
    "olmo3 opt phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe smollm3 stablelm starcoder2".split()
)
"""``model_type`` of the architectures on which the state checks are run in the tests."""

_INSTEAD = "use a model whose layers are plain attention, such as those in `draftproof docs models`"
_WITH_MASKS = {"full_attention", "sliding_attention"}
_POSITIONS_IN_THE_CACHE = {
    "bloom": "ALiBi biases",
    "gpt_neo": "local windows",
    "mpt": "ALiBi biases",
}
"""What counts places in the cache, where a tree needs positions in the sequence, by model type."""
_SWITCHING_ROTARY = {"longrope"}
"""Rotary embeddings that turn all positions otherwise once the sequence is longer than trained."""


def require_tree_scoring(model: PreTrainedModel) -> None:
    """Refuse an architecture of which it is known why it cannot score a tree and keep a path of it.

    Others are refused by what they do when they are run: see `draftproof.models.calling` and
    `draftproof.models.probe`.

    Raises:
        ModelError: It keeps a state that cannot be rolled back, or measures distances by places in
            the cache.
    """
    with explained(model):
        if (reason := _refusal(model)) is not None:
            raise ModelError(reason)


@contextlib.contextmanager
def explained(model: PreTrainedModel) -> Iterator[None]:
    """Complete what is wrong with a model to a sentence: its name before it, and what to do.

    Raises:
        ModelError: As inside, completed.
    """
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{type(model).__name__} {error}; {_INSTEAD}") from error


def context_length(model: PreTrainedModel, window: int) -> int:
    """The most tokens that a model attends to, while all that it caches stays true.

    With rotary embeddings that switch at the length trained with, keys cached before belong to the
    other kind; so that length is the limit. Code that comes with a model may have taken its sliding
    window out of the configuration when the model was made, where a change of it does not show; up
    to the length of such a window none can tell.

    Args:
        model: Whose configuration is read.
        window: The sliding window that it was seen to have.
    """
    config = model.config.get_text_config(decoder=True)
    limit: int = getattr(config, "max_position_embeddings", None) or 1 << 30
    stated = getattr(config, "sliding_window", None)
    if stated and not window and not type(model).__module__.startswith("transformers."):
        limit = min(limit, stated)
    rotary: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    # Models with several kinds of layer have parameters for each.
    for parameters in (rotary, *(part for part in rotary.values() if isinstance(part, dict))):
        if parameters.get("rope_type") in _SWITCHING_ROTARY:
            trained = parameters.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            limit = min(limit, trained or limit)
    return limit


def family_notes(model: PreTrainedModel, limit: int) -> tuple[str, ...]:
    """What a user should know of an architecture that is not refused.

    Args:
        model: The model.
        limit: Its `context_length`.
    """
    config = model.config.get_text_config(decoder=True)
    notes = []
    if config.model_type not in TESTED:
        notes.append(
            f"{type(model).__name__} is not among the architectures that draftproof is tested "
            "with; it passed the probe, and pytest --spec-check-state 1 verifies it at every step"
        )
    stated = getattr(config, "max_position_embeddings", None)
    if stated and limit < stated:
        why = (
            "a sliding window that its configuration states and its own code may or may not use "
            "would begin to count"
            if limit == getattr(config, "sliding_window", None)
            else "its rotary embeddings change, and what was cached before does not hold"
        )
        notes.append(f"the context is limited to {limit} of {stated} tokens: beyond, {why}")
    return tuple(notes)


def _refusal(model: PreTrainedModel) -> str | None:
    config = model.config.get_text_config(decoder=True)
    others = sorted(set(getattr(config, "layer_types", None) or ()) - _WITH_MASKS)
    if any("attention" in kind and "linear" not in kind for kind in others):
        return f"has layers of type {', '.join(others)}, for which no mask of a tree is known"
    if others:
        return (
            f"has layers of type {', '.join(others)}, which keep a state that cannot be rolled "
            "back after a rejection"
        )
    if getattr(model, "_is_stateful", False):
        return "is recurrent: it keeps a state that cannot be rolled back after a rejection"
    counts = _POSITIONS_IN_THE_CACHE.get(config.model_type)
    if getattr(config, "alibi", False):
        counts = "ALiBi biases"
    if counts is not None:
        return (
            f"has {counts} that count places in the cache, not positions in the sequence, and so "
            "sees the branches of a tree at wrong distances"
        )
    return None
