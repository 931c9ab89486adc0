"""Writes a Llama checkpoint as GGUF, with the quantisation that the `gguf` package implements."""

from pathlib import Path

import numpy as np

WRITABLE = ("F32", "F16", "Q8_0", "Q5_0", "Q4_1", "Q4_0")
"""Types that `gguf` can quantise to; of the K types (Q4_K and others) it only reads."""


def write_gguf(path, model, tokenizer, kind="Q8_0", *, settings=(), tensors=()):
    """A transformers Llama with a byte-level BPE tokenizer in one file, as llama.cpp lays it out.

    Matrices, embeddings included, are of the type `kind`; norms are float32. `settings` adds pairs
    of a key and a value, `tensors` pairs of a name and an array of float32.
    """
    import gguf
    from gguf.quants import quantize

    config, vocabulary = model.config, tokenizer.get_vocab()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    for key, value in settings:
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
        add.get(type(value), writer.add_string)(key, value)
    for name, values in tensors:
        writer.add_tensor(name, np.asarray(values, dtype=np.float32))
    _add_tokenizer(writer, tokenizer, vocabulary, gguf)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    wanted = gguf.GGMLQuantizationType[kind]
    tied = config.tie_word_embeddings
    for name, tensor in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        weight = _in_ggml_order(name, tensor.float().numpy(), config)
        written = names.get_name(name, try_suffixes=(".weight",))
        if weight.ndim == 1:
            writer.add_tensor(written, weight)
        else:
            writer.add_tensor(written, quantize(weight, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def _add_tokenizer(writer, tokenizer, vocabulary, gguf):
    import json

    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {added["content"] for added in backend["added_tokens"]}
    tokens = [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    )
    writer.add_token_merges([" ".join(pair) for pair in backend["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    # Unset, llama.cpp takes id 11 for it, an ordinary token here.
    writer.add_bos_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)


def _in_ggml_order(name, weight, config):
    """llama.cpp rotates neighbouring features of a head, transformers the two halves of it."""
    heads = {
        "self_attn.q_proj.weight": config.num_attention_heads,
        "self_attn.k_proj.weight": config.num_key_value_heads,
    }
    for suffix, count in heads.items():
        if name.endswith(suffix):
            rows, columns = weight.shape
            halves = weight.reshape(count, 2, rows // count // 2, columns)
            weight = halves.swapaxes(1, 2).reshape(rows, columns)
    return np.ascontiguousarray(weight, dtype=np.float32)
