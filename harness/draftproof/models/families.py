"""Which architectures can score a tree: those that are tested, and those that are refused."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from draftproof.errors import ModelError

TESTED = frozenset(
    "cohere2 deepseek_v2 deepseek_v3 falcon gemma gemma2 gemma3_text glm4 gpt2 gpt_neox "
    "gpt_oss gptj granite llama mistral mixtral olmo2 "
    "olmo3 opt phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe smollm3 stablelm starcoder2".split()
)
"""``model_type`` of the architectures on which the state checks are run in the tests."""

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
    """Refuse an architecture that cannot score a tree and keep one path of it.

    Raises:
        ModelError: It keeps a state that cannot be rolled back, measures distances by places in
            the cache, or cannot be given positions, masks or a cache.
    """
    reason = _refusal(model)
    if reason is not None:
        raise ModelError(
            f"{type(model).__name__} {reason}; use a model whose layers are plain attention, such "
            "as those listed by `draftproof docs models`"
        )


def layer_types(config: PreTrainedConfig) -> frozenset[str]:
    """The kinds of layer that a model has, in the words of `transformers`."""
    listed = getattr(config, "layer_types", None)
    if listed is not None:
        return frozenset(listed)
    window = getattr(config, "sliding_window", None)
    return frozenset({"full_attention" if window is None else "sliding_attention"})


def context_length(config: PreTrainedConfig) -> int:
    """The most tokens that a model attends to, while all that it caches stays true.

    With rotary embeddings that switch at the length trained with, keys cached before belong to the
    other kind; so that length is the limit.
    """
    limit: int = getattr(config, "max_position_embeddings", None) or 1 << 30
    rotary: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    # Models with several kinds of layer have parameters for each.
    for parameters in (rotary, *(part for part in rotary.values() if isinstance(part, dict))):
        if parameters.get("rope_type") in _SWITCHING_ROTARY:
            trained = parameters.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            limit = min(limit, trained or limit)
    return limit


def family_notes(model: PreTrainedModel) -> tuple[str, ...]:
    """What a user should know of an architecture that is not refused."""
    config = model.config.get_text_config(decoder=True)
    notes = []
    if config.model_type not in TESTED:
        notes.append(
            f"{type(model).__name__} is not among the architectures that draftproof is tested "
            "with; it passed the probe, and pytest --spec-check-state 1 verifies it at every step"
        )
    limit, stated = context_length(config), getattr(config, "max_position_embeddings", None)
    if stated and limit < stated:
        notes.append(
            f"the context is limited to {limit} of {stated} tokens: beyond, its rotary embeddings "
            "change, and what was cached before does not hold"
        )
    return tuple(notes)


def _refusal(model: PreTrainedModel) -> str | None:
    config = model.config.get_text_config(decoder=True)
    others = sorted(layer_types(config) - _WITH_MASKS)
    if any("attention" in kind and "linear" not in kind for kind in others):
        return f"has layers of type {', '.join(others)}, for which no mask of a tree is known"
    if others:
        return (
            f"has layers of type {', '.join(others)}, which keep a state that cannot be rolled "
            "back after a rejection"
        )
    if model._is_stateful:
        return "is recurrent: it keeps a state that cannot be rolled back after a rejection"
    counts = _POSITIONS_IN_THE_CACHE.get(config.model_type)
    if getattr(config, "alibi", False):
        counts = "ALiBi biases"
    if counts is not None:
        return (
            f"has {counts} that count places in the cache, not positions in the sequence, and so "
            "sees the branches of a tree at wrong distances"
        )
    accepted = inspect.signature(model.forward).parameters
    for name, what in (
        ("past_key_values", "keeps no key-value cache that could be rolled back"),
        ("position_ids", "takes no position ids, so the branches of a tree cannot be placed"),
        ("attention_mask", "takes no attention mask, so the branches of a tree see each other"),
    ):
        if name not in accepted:
            return what
    return None
