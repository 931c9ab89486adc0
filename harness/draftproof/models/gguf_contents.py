"""Accounts for all that a GGUF file says of its model: arrived, applied here, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from draftproof.errors import ModelError
from draftproof.models.gptq_weights import listed

_INSTEAD = (
    "give the safetensors checkpoint of the same model, or examine it with --spec-engine llama-cpp"
)
_ROPE_FACTORS = "rope_freqs.weight"
_RELATIVE = 1e-5
"""Numbers of a file are float32."""
_APART = ("general", "quantize", "split", "tokenizer")
"""Keys that begin so say nothing of how the model computes."""

_NAMES: Mapping[str, tuple[str, ...]] = {
    "attention.head_count": ("num_attention_heads",),
    "attention.head_count_kv": ("num_key_value_heads", "num_kv_heads", "num_attention_heads"),
    "attention.key_length": ("head_dim", "qk_head_dim"),
    "attention.kv_lora_rank": ("kv_lora_rank",),
    "attention.layer_norm_epsilon": (
        "layer_norm_eps",
        "layer_norm_epsilon",
        "norm_epsilon",
        "norm_eps",
    ),
    "attention.layer_norm_rms_epsilon": (
        "rms_norm_eps",
        "norm_eps",
        "layer_norm_eps",
        "layer_norm_epsilon",
    ),
    "attention.q_lora_rank": ("q_lora_rank",),
    "attention.scale": ("attention_multiplier",),
    "attention.sliding_window": ("sliding_window",),
    "attention.value_length": ("v_head_dim", "head_dim"),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "block_count": ("num_hidden_layers",),
    "embedding_length": ("hidden_size",),
    "embedding_scale": ("embedding_multiplier",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_feed_forward_length": ("moe_intermediate_size", "intermediate_size"),
    "expert_shared_count": ("n_shared_experts",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size",),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_weights_norm": ("norm_topk_prob",),
    "expert_weights_scale": ("routed_scaling_factor",),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "leading_dense_block_count": ("first_k_dense_replace",),
    "logit_scale": ("logits_scaling", "logit_scale"),
    "residual_scale": ("residual_multiplier",),
    "use_parallel_residual": ("use_parallel_residual", "parallel_attn"),
}
"""What `transformers` calls what a key of a file says; one of the names must have its value."""

_WITHOUT_EFFECT: Mapping[str, Callable[[Any], bool]] = {
    "attention.causal": lambda value: value is True,
    "attention.clamp_kqv": lambda value: value == 0,
    "attention.max_alibi_bias": lambda value: value == 0,
    # Where the file has scores for more tokens than texts, rows are cut; no logit depends on it.
    "context_length": lambda value: True,
    "expert_count": lambda value: value == 0,
    "expert_group_count": lambda value: value <= 1,
    "expert_group_used_count": lambda value: value <= 1,
    "expert_shared_count": lambda value: value == 0,
    "expert_used_count": lambda value: value == 0,
    "expert_weights_scale": lambda value: value in (0, 1),
    "logit_scale": lambda value: value == 1,
    "pooling_type": lambda value: value == 0,
    "tensor_data_layout": lambda value: True,
    "vocab_size": lambda value: True,
}
"""Keys, and the values with which they change nothing."""


@dataclass(frozen=True, slots=True)
class GGUFContents:
    """What a file holds.

    Attributes:
        architecture: As the file names it.
        settings: Of the architecture, by key without its name.
        others: Keys of neither the architecture nor of the kinds that do not bear on it.
        sizes: Values in each tensor, by name.
        factors: By what each rotary frequency is divided; None where the file has no such tensor.
        stops: Ids of the tokens that end an output, the end of a text before that of a turn.
    """

    architecture: str
    settings: dict[str, Any]
    others: tuple[str, ...]
    sizes: dict[str, int]
    factors: Float[torch.Tensor, " frequencies"] | None
    stops: tuple[int, ...]


_STOPS = ("eos", "eot", "eom")
"""End of a text, of a turn and of a message: llama.cpp ends an output with any of them."""


def read_gguf(path: Path) -> GGUFContents:
    """What a GGUF file holds, weights left aside; kept until the file changes.

    A vocabulary of 150,000 tokens takes seconds to be read.

    Args:
        path: The file.
    """
    found = path.stat()
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> GGUFContents:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    architecture = str(reader.fields["general.architecture"].contents())
    settings: dict[str, Any] = {}
    others = []
    for key, field in reader.fields.items():
        head, _, rest = key.partition(".")
        if head == architecture:
            settings[rest] = field.contents()
        elif head not in (*_APART, "GGUF"):
            others.append(key)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    factors = None
    if _ROPE_FACTORS in tensors:
        factors = torch.tensor(tensors[_ROPE_FACTORS].data, dtype=torch.float32).flatten()
    return GGUFContents(
        architecture=architecture,
        settings=settings,
        others=tuple(others),
        sizes={name: int(tensor.n_elements) for name, tensor in tensors.items()},
        factors=factors,
        stops=tuple(
            int(stop.contents())
            for name in _STOPS
            if (stop := reader.fields.get(f"tokenizer.ggml.{name}_token_id")) is not None
        ),
    )


def require_known_tensors(contents: GGUFContents) -> None:
    """Refuse tensors that belong to another one and that `transformers` would take for it.

    Some quantised files have factors beside a weight (``blk.0.attn_q.scale`` beside
    ``blk.0.attn_q.weight``).

    Raises:
        ModelError: Names them.
    """
    beside = [
        name
        for name in contents.sizes
        if not name.endswith((".weight", ".bias"))
        and f"{name.rpartition('.')[0]}.weight" in contents.sizes
    ]
    if beside:
        raise ModelError(
            f"the file has {listed(beside)} beside the weights of the same name, which "
            f"transformers does not apply; {_INSTEAD}"
        )


def complete_gguf(model: PreTrainedModel, contents: GGUFContents) -> None:
    """Give a model what `transformers` leaves in its file, and refuse what cannot be given.

    `transformers` passes over the keys and tensors for which it has no place. Every key of the file
    must be found in the model's configuration or be without effect, and every value of its tensors
    in the model's weights. Rotary frequencies are set here: those of Llama 3.1 and later are
    divided by the factors of a tensor of their own.

    Mutates: `model`'s rotary frequencies.

    Raises:
        ModelError: Names the key or the tensor that would be lost.

    Source:
        The keys are those of ``docs/gguf.md`` in ggml; factors and linear scaling act on
        frequencies as in llama.cpp's ``ggml_rope_ext``.
    """
    config = model.config.get_text_config(decoder=True)
    if contents.others:
        raise ModelError(
            f"the file has {listed(contents.others)}, of which it is not known what it does to the "
            f"model; {_INSTEAD}"
        )
    for key, value in contents.settings.items():
        if key.startswith("rope."):
            continue
        if key in _WITHOUT_EFFECT and _WITHOUT_EFFECT[key](value):
            continue
        found = {
            name: getattr(config, name)
            for name in _NAMES.get(key, ())
            if getattr(config, name, None) is not None
        }
        if not any(_same(value, other) for other in found.values()):
            here = "".join(f", where its {name} is {other}" for name, other in found.items())
            raise ModelError(
                f"the file has {contents.architecture}.{key} = {_shown(value)}, and the model that "
                f"transformers makes of it has not{here}; {_INSTEAD}"
            )
    _set_frequencies(model, contents)
    _require_all_tensors(model, contents)


def _set_frequencies(model: PreTrainedModel, contents: GGUFContents) -> None:
    rope = {
        key.removeprefix("rope."): value
        for key, value in contents.settings.items()
        if key.startswith("rope.")
    }
    rotary = [module for module in model.modules() if hasattr(module, "inv_freq")]
    scaling = rope.pop("scaling.type", None)
    factor = rope.pop("scaling.factor", None) or rope.pop("scale_linear", None) or 1.0
    if scaling in (None, "none", "linear") and len(rotary) == 1:
        _set_plain(model, rotary[0], rope, 1.0 if scaling == "none" else factor, contents)
        return
    if contents.factors is not None:
        raise ModelError(
            f"the file has {_ROPE_FACTORS}, which the model has {len(rotary)} places for and "
            f"scaling of type {scaling}; {_INSTEAD}"
        )
    stated = model.config.get_text_config(decoder=True).rope_parameters or {}
    kinds = [part for part in stated.values() if isinstance(part, dict)] or [stated]
    asked = {"freq_base": ("rope_theta",), "freq_base_swa": ("rope_theta",)}
    if scaling not in (None, "none"):
        rope |= {"scaling.type": scaling, "scaling.factor": factor}
        asked |= {
            "scaling.type": ("rope_type",),
            "scaling.factor": ("factor",),
            "scaling.original_context_length": ("original_max_position_embeddings",),
            "scaling.attn_factor": ("attention_factor",),
            "scaling.yarn_beta_fast": ("beta_fast",),
            "scaling.yarn_beta_slow": ("beta_slow",),
        }
    for key, value in rope.items():
        if key in ("dimension_count", "scaling.finetuned") or (
            key.startswith("scaling.") and scaling in (None, "none")
        ):
            continue
        names = asked.get(key, ())
        if not any(_same(value, kind.get(name)) for kind in kinds for name in names):
            raise ModelError(
                f"the file has {contents.architecture}.rope.{key} = {_shown(value)}, and the model "
                f"that transformers makes of it has not; {_INSTEAD}"
            )


def _set_plain(
    model: PreTrainedModel,
    rotary: Any,
    rope: dict[str, Any],
    factor: float,
    contents: GGUFContents,
) -> None:
    """Set the frequencies of rotary embeddings that are the same for all layers and lengths."""
    for key in rope:
        # Other kinds of scaling alone read what else is said of it, but for the factor of logits.
        only_others = key.startswith("scaling.") and (
            key != "scaling.attn_factor" or rope[key] == 1
        )
        if key not in ("dimension_count", "freq_base") and not only_others:
            raise ModelError(
                f"the file has {contents.architecture}.rope.{key} = {_shown(rope[key])}, of which "
                f"it is not known what it does to the model; {_INSTEAD}"
            )
    count = len(rotary.inv_freq)
    dimensions = int(rope.get("dimension_count", 2 * count))
    if dimensions != 2 * count:
        raise ModelError(
            f"the file has {contents.architecture}.rope.dimension_count = {dimensions}, and the "
            f"model that transformers makes of it turns {2 * count} features; {_INSTEAD}"
        )
    base = float(rope.get("freq_base", 10_000.0))
    exponents = torch.arange(0, dimensions, 2, dtype=torch.float32) / dimensions
    frequencies = 1.0 / base**exponents / factor
    if contents.factors is not None:
        if len(contents.factors) != count:
            raise ModelError(
                f"{_ROPE_FACTORS} has {len(contents.factors)} values, and the model {count} rotary "
                f"frequencies; {_INSTEAD}"
            )
        frequencies = frequencies / contents.factors
    placed = frequencies.to(rotary.inv_freq)
    rotary.inv_freq = placed
    if hasattr(rotary, "original_inv_freq"):
        rotary.original_inv_freq = placed.clone()


def _require_all_tensors(model: PreTrainedModel, contents: GGUFContents) -> None:
    """Refuse a model that holds fewer values than its file.

    No weight of the model is missing (see `stored_weights.require_whole`), so every
    value of it is the file's, and a surplus in the file was passed over.
    """
    state = model.state_dict()
    held = {tensor.data_ptr(): tensor.numel() for tensor in state.values()}
    sizes = {name: size for name, size in contents.sizes.items() if name != _ROPE_FACTORS}
    surplus = sum(sizes.values()) - sum(held.values())
    if surplus <= 0:
        return
    known = _expected_names(contents, state)
    unknown = sorted(name for name in sizes if name not in known) or sorted(sizes)
    raise ModelError(
        f"the file has {listed(unknown)} and {surplus} values more than the model that "
        f"transformers makes of it; {_INSTEAD}"
    )


def _expected_names(contents: GGUFContents, state: Mapping[str, Any]) -> frozenset[str]:
    """Names of a file's tensors that some weight of a model goes by."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    kinds = [kind for kind, name in MODEL_ARCH_NAMES.items() if name == contents.architecture]
    if not kinds:
        return frozenset()
    names = get_tensor_name_map(kinds[0], int(contents.settings.get("block_count", 0)))
    found = (names.get_name(name, try_suffixes=(".weight", ".bias")) for name in state)
    return frozenset(name for name in found if name is not None)


def _same(value: Any, other: Any) -> bool:
    """Whether a file's value is a configuration's; a list of one value is that value."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        others = other if isinstance(other, Sequence) else [other] * len(value)
        return len(value) == len(others) and all(map(_same, value, others))
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=_RELATIVE)
    return bool(value == other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
