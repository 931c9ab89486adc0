"""Writes GPTQ checkpoints by rounding to nearest, from the definition of the format alone.

Nothing of the package is used, and no word is packed with its arithmetic: packing is Python
integers, one code at a time. Each layer's exact weights are kept, to compare with.
"""

import json
from pathlib import Path

import numpy as np
import torch
from checkpoints import tokenizer
from safetensors.torch import save_file

WORD = 1 << 32


def pack(codes, bits):
    """Rows of codes to rows of signed 32-bit words, the first code in the lowest bits."""
    per_word = 32 // bits
    rows = []
    for row in codes:
        words = []
        for start in range(0, len(row), per_word):
            word = 0
            for place, code in enumerate(row[start : start + per_word]):
                assert 0 <= code < 1 << bits
                word += int(code) << bits * place
            words.append(word)
        rows.append(words)
    return rows


def to_tensor(words):
    return torch.from_numpy(np.array(words, dtype=np.int64).astype(np.uint32).view(np.int32))


def less_one_with_borrow(words, bits):
    """1 taken from every code of a word at once: a code of 0 borrows from the next."""
    ones = sum(1 << place for place in range(0, 32, bits))
    return [[(word - ones) % WORD for word in row] for row in words]


def less_one_as_autogptq(codes, bits):
    """1 taken from every code before it is packed: a code of 0 sets every bit above it."""
    per_word = 32 // bits
    rows = []
    for row in codes:
        words = []
        for start in range(0, len(row), per_word):
            word = 0
            for place, code in enumerate(row[start : start + per_word]):
                word |= ((int(code) - 1) % WORD << bits * place) % WORD
            words.append(word)
        rows.append(words)
    return rows


def pack_zero_points(codes, bits, layout, borrow=True):
    if layout == "gptq_v2":
        return pack(codes, bits)
    if borrow:
        return less_one_with_borrow(pack(codes, bits), bits)
    return less_one_as_autogptq(codes, bits)


def group_of_each_input(inputs, group_size, desc_act, generator):
    """Consecutive groups, or with `desc_act` those of a random order."""
    size = inputs if group_size == -1 else group_size
    groups = torch.arange(inputs) // size
    return groups[torch.randperm(inputs, generator=generator)] if desc_act else groups


def quantise(weight, g_idx, bits, sym):
    """Codes ``[inputs, outputs]``, zero points and scales ``[groups, outputs]`` of a weight."""
    top = (1 << bits) - 1
    outputs, inputs = weight.shape
    count = int(g_idx.max()) + 1
    scales = torch.zeros(count, outputs, dtype=torch.float16)
    zeros = torch.zeros(count, outputs, dtype=torch.int64)
    codes = torch.zeros(inputs, outputs, dtype=torch.int64)
    for group in range(count):
        members = (g_idx == group).nonzero()[:, 0]
        part = weight[:, members].double()
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        if sym:
            high = torch.maximum(high, -low)
            low = -high
        scale = ((high - low) / top).clamp(min=1e-4).half()
        zero = torch.full_like(scale, (top + 1) // 2) if sym else (-low / scale.double()).round()
        zeros[group] = zero.long().clamp(0, top)
        scales[group] = scale
        code = (part / scale.double()[:, None]).round().long() + zeros[group][:, None]
        codes[members] = code.clamp(0, top).t()
    return codes, zeros, scales


def exact_weight(codes, zeros, scales, g_idx):
    """``[outputs, inputs]`` in float64, in which every product is exact."""
    return (scales[g_idx].double() * (codes - zeros[g_idx]).double()).t().contiguous()


def write_checkpoint(
    folder,
    model,
    made_tokenizer=None,
    *,
    bits=4,
    group_size=32,
    desc_act=False,
    sym=True,
    layout="gptq",
    config_in="config.json",
    name="model.safetensors",
    shards=1,
    extra_layers=(),
    zero_biases=False,
    g_idx=True,
    quantizer=("gptqmodel:7.6.0",),
    borrow=True,
    seed=0,
):
    """A model's linear layers quantised, and the rest as float16; returns the exact weights.

    Args:
        folder: Made if it is not there.
        model: A transformers model. Its head is not quantised unless `extra_layers` names it.
        made_tokenizer: Saved beside it.
        config_in: ``config.json`` or ``quantize_config.json``.
        name: Of the weight file, or what the shards' names begin with.
    """
    from transformers.pytorch_utils import Conv1D

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    tensors, exact = {}, {}
    for layer_name, module in model.named_modules():
        if not isinstance(module, (torch.nn.Linear, Conv1D)):
            continue
        if module is head and layer_name not in extra_layers:
            continue
        transposed = isinstance(module, Conv1D)
        weight = module.weight.detach()
        weight = weight.t() if transposed else weight
        groups = group_of_each_input(weight.shape[1], group_size, desc_act, generator)
        codes, zeros, scales = quantise(weight, groups, bits, sym)
        stored = exact_weight(codes, zeros, scales, groups)
        exact[f"{layer_name}.weight"] = stored.t().contiguous() if transposed else stored
        tensors[f"{layer_name}.qweight"] = to_tensor(pack(codes.t().tolist(), bits)).t()
        packed = pack_zero_points(zeros.tolist(), bits, layout, borrow)
        tensors[f"{layer_name}.qzeros"] = to_tensor(packed)
        tensors[f"{layer_name}.scales"] = scales
        if g_idx:
            tensors[f"{layer_name}.g_idx"] = groups.int()
        if module.bias is not None:
            tensors[f"{layer_name}.bias"] = module.bias.detach().half()
            exact[f"{layer_name}.bias"] = tensors[f"{layer_name}.bias"].double()
        elif zero_biases:
            tensors[f"{layer_name}.bias"] = torch.zeros(weight.shape[0], dtype=torch.float16)
    for key, value in model.state_dict().items():
        in_packed_layer = f"{key.rpartition('.')[0]}.qweight" in tensors
        tied_head = tied and module_of(model, key) is head
        if not in_packed_layer and not tied_head:
            tensors[key] = value.half()
            exact[key] = tensors[key].double()
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    write_weights(folder, tensors, name, shards)
    model.config.save_pretrained(folder)
    # Set by the model's own save_pretrained alone, so it would depend on what ran before.
    config = json.loads((folder / "config.json").read_text())
    config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config))
    settings = {
        "bits": bits,
        "group_size": group_size,
        "desc_act": desc_act,
        "sym": sym,
        "true_sequential": True,
        "quant_method": "gptq",
        "checkpoint_format": layout,
    }
    if quantizer:
        settings["meta"] = {"quantizer": list(quantizer)}
    write_settings(folder, settings, config_in)
    if made_tokenizer is not None:
        made_tokenizer.save_pretrained(folder)
    return exact


def module_of(model, key):
    return model.get_submodule(key.rpartition(".")[0])


def write_weights(folder, tensors, name="model.safetensors", shards=1):
    if shards == 1:
        save_file(tensors, folder / name, metadata={"format": "pt"})
        return
    stem = name.removesuffix(".safetensors")
    weight_map = {}
    for shard in range(shards):
        file = f"{stem}-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[shard::shards]}
        weight_map |= dict.fromkeys(part, file)
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def write_settings(folder, settings, config_in="config.json"):
    """The settings, as `transformers` keeps them or in AutoGPTQ's own file."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("quantization_config", None)
    (folder / "quantize_config.json").unlink(missing_ok=True)
    if config_in == "config.json":
        config["quantization_config"] = settings
    elif settings is not None:
        (folder / config_in).write_text(json.dumps(settings))
    path.write_text(json.dumps(config))


def tiny_model(seed=0, *, tied=False, words=None, hidden=32, intermediate=64, layers=1):
    """A random Llama whose layers are wide enough for a few groups; and its tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tokenizer() if words is None else tokenizer(words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(made),
                hidden_size=hidden,
                intermediate_size=intermediate,
                num_hidden_layers=layers,
                num_attention_heads=2,
                max_position_embeddings=128,
                initializer_range=0.4,
                tie_word_embeddings=tied,
                eos_token_id=made.eos_token_id,
                bos_token_id=None,
            )
        )
    return model.eval(), made
