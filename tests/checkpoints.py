"""Checkpoints on disk, small enough to be made by a test."""

from pathlib import Path

import torch

WORDS = ("a", "b", "c", "d", "e", "f", "g", "h")


def tokenizer(words=WORDS, chat_template=None, stops=True):
    """A fast tokenizer of whole words, with the ids 0 to n + 1."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(("<unk>", "<end>", *words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<end>" if stops else None
    )
    made.chat_template = chat_template
    return made


def save_checkpoint(folder, *, seed=0, words=WORDS, padded_by=0, chat_template=None, stops=True):
    """A random Llama with a tokenizer in a folder, as `save_pretrained` writes it.

    With `stops` false no token ends an output, so that each is as long as it may be.
    """
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    made = tokenizer(words, chat_template, stops)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(made) + padded_by,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=128,
                initializer_range=0.6,
                eos_token_id=made.eos_token_id,
                bos_token_id=None,
            )
        )
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return Path(folder)


def changed_weights(folder, change):
    """Lets a function change a checkpoint's weights."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})
    return folder


def changed_settings(folder, **settings):
    """Adds to a checkpoint's ``config.json``."""
    import json

    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder
