"""How many prompts a device has room to decode at once."""

from __future__ import annotations

from transformers import PreTrainedModel

from draftproof.config import RunConfig
from draftproof.models.loading import ModelPair
from draftproof.models.processor import free_bytes

_MOST = {"cpu": 16}
"""Rows beyond which a batch gains little: a core is busy long before an accelerator is."""
_MOST_ELSEWHERE = 64
_SHARE = 0.25
"""Share of the free memory that a batch may take."""
_COPIES = 6
"""Arrays of the size of all logits that are alive at once in a step: logits and probabilities of
both models, and what filters and facts make of them."""
_FLOAT = 4
_LONGEST_PROMPT = 2048
"""Tokens that a prompt is taken to have, at most."""


def batch_size(config: RunConfig, pair: ModelPair) -> int:
    """Prompts that are decoded at once: as many as there are to be requests in flight.

    Where the settings leave it open, as many as fit into a quarter of the free memory of the
    target's device, by the size of the logits of a step and of the keys and values of a full
    context: at most 16 on a CPU and 64 elsewhere.
    """
    if config.concurrency > 1:
        return config.concurrency
    if config.batch is not None:
        return config.batch
    device = pair.target.device
    room = _SHARE * free_bytes(device)
    most = _MOST.get(device.type, _MOST_ELSEWHERE)
    return max(1, min(most, int(room // row_bytes(config, pair))))


def row_bytes(config: RunConfig, pair: ModelPair) -> int:
    """Memory that one prompt takes in a batch, in bytes; an estimate."""
    places = config.tree.most_nodes + 1
    logits: int = _COPIES * places * pair.target.vocabulary_size * _FLOAT
    models = [model.model for model in (pair.target, pair.draft) if model is not None]
    tokens: int = min(pair.target.max_length, _LONGEST_PROMPT + config.max_new_tokens + places)
    return logits + tokens * sum(map(_bytes_per_token, models))


def _bytes_per_token(model: PreTrainedModel) -> int:
    """Keys and values of one token in all layers, by the sizes that the configuration names."""
    text = model.config.get_text_config(decoder=True)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    width: int = next(model.parameters()).element_size()
    return int(2 * text.num_hidden_layers * heads * size * width)
