"""Tiny pairs of models, made on the spot, with what the pair of a run need not have.

A window that slides, rows of the head that no token has, a draft model that lacks some of the
target's ids; in float64, where two ways to the same output agree to the last token, whatever the
run's models are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.modeling_utils import PreTrainedModel

from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.loading import ModelPair
from draftproof.models.widened import WidenedLM

VOCABULARY = 24
CONTEXT = 96
WINDOW = 5
_DRAFT_VOCABULARY, _PADDED = 20, 28
_SEED = 17
_NOISE = 0.08
"""Of a draft model's weights, as a share of their spread: some drafts are kept, some are not."""
_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.6,
    "tie_word_embeddings": False,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def small_pairs(pair: ModelPair) -> Iterator[tuple[str, ModelPair]]:
    """Tiny pairs by what is special about them, over the first ids of a pair's tokenizer.

    Args:
        pair: Whose tokenizer is kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield "a sliding window", replace(pair, **_sliding())
        yield "a padded and a reduced vocabulary", replace(pair, **_reduced())


def _sliding() -> dict[str, Any]:
    config = MistralConfig(vocab_size=VOCABULARY, sliding_window=WINDOW, **_SIZES)
    target = MistralForCausalLM(config).double().train(False)
    draft = MistralForCausalLM(config).double().train(False)
    _resemble(draft, target)
    return {"target": HuggingFaceLM(target), "draft": HuggingFaceLM(draft)}


def _reduced() -> dict[str, Any]:
    target = LlamaForCausalLM(LlamaConfig(vocab_size=_PADDED, **_SIZES)).double().train(False)
    draft = (
        LlamaForCausalLM(LlamaConfig(vocab_size=_DRAFT_VOCABULARY, **_SIZES)).double().train(False)
    )
    _resemble(draft, target)
    narrow = HuggingFaceLM(draft)
    return {
        "target": HuggingFaceLM(target, VOCABULARY),
        "draft": WidenedLM(narrow, VOCABULARY, range(_DRAFT_VOCABULARY), stand_in=1),
    }


@torch.no_grad()
def _resemble(draft: PreTrainedModel, target: PreTrainedModel) -> None:
    """Give a draft model the target's weights, as far as it has them, with some noise."""
    theirs = target.state_dict()
    for name, weight in draft.state_dict().items():
        own = theirs[name][: len(weight)]
        spread = own.std() if own.numel() > 1 else own.new_zeros(())
        weight.copy_(own + _NOISE * spread * torch.randn_like(own))
