"""Loads a GPTQ checkpoint: as a dense model anywhere, or through its packed layers on a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils.hub import cached_file

from draftproof.errors import ModelError
from draftproof.models.gptq_format import GPTQFormat, read_format, weight_file
from draftproof.models.gptq_weights import INCOMPLETE, GPTQTensors, dense_weights, listed
from draftproof.models.stored_weights import require_no_loss, stored_weights

_AUTO: Any = AutoModelForCausalLM
_HALF_PRECISION = (torch.float16, torch.bfloat16)


def gptq_format(location: str, revision: str | None = None) -> GPTQFormat | None:
    """The packing of the GPTQ checkpoint at a location; None if the model there is not one.

    Args:
        location: A folder, or a hub id, of which the files of settings are fetched.
        revision: Of a model on the hub.

    Raises:
        ModelError: It is one, or resembles one, that is not read.
    """
    folder = Path(location)
    if folder.is_dir():
        packing = read_format(folder)
        if packing is None:
            _refuse_unexplained(folder)
        return packing
    config = cached_file(location, "config.json", revision=revision)
    # Few models have this file; a hub that cannot be reached was reported for the other one.
    cached_file(
        location,
        "quantize_config.json",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return read_format(Path(str(config)).parent)


def load_gptq(
    location: str,
    packing: GPTQFormat,
    dtype: torch.dtype | str,
    device: torch.device,
    report: Callable[[str], None],
    revision: str | None = None,
) -> PreTrainedModel:
    """The model of a GPTQ checkpoint.

    Its layers are unpacked to dense weights, which every device and dtype can use and for which
    nothing else need be installed. On a GPU with the extra ``[gptq]`` they stay packed, in half or
    a quarter of the memory, if that is sure to give the same model.

    Args:
        location: A folder or a hub id.
        packing: As `gptq_format` found it.
        dtype: Of the weights; ``auto`` is what ``config.json`` says, else float16.
        device: Where the model will run. A dense model is returned on the CPU.
        report: Told in a line which of the two ways is taken.
        revision: Of a model on the hub.

    Raises:
        ModelError: Something is missing, or does not fit together.
    """
    config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
    if isinstance(dtype, str):
        dtype = config.dtype or torch.float16
    folder = _local(location, revision)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        skeleton: PreTrainedModel = _AUTO.from_config(config, trust_remote_code=False)
    with GPTQTensors(weight_file(folder, packing.base_name), packing) as tensors:
        _check_layers(tensors, skeleton)
        if device.type == "cuda" and can_stay_packed(tensors, skeleton, dtype):
            report(f"{packing}: its layers stay packed")
            return load_packed(folder, tensors, config, packing, dtype, device)
        report(f"{packing}: its layers are unpacked to {str(dtype).removeprefix('torch.')}")
        return _load_dense(folder, tensors, config, packing, dtype, skeleton)


def can_stay_packed(tensors: GPTQTensors, skeleton: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Whether the extra is installed, and computes with the weights that this checkpoint has.

    `optimum` takes every linear layer but the head for packed, whatever the checkpoint holds; and
    scales are cast to the dtype asked for before they are multiplied, not after.

    Raises:
        ModelError: A layer is malformed.
    """
    if not all(importlib.util.find_spec(name) for name in ("gptqmodel", "optimum")):
        return False
    head = cast("Any", skeleton).get_output_embeddings()
    linear = {
        name
        for name, module in skeleton.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }
    scales = {tensors.layer(name).scales.dtype for name in tensors.layers}
    return linear == set(tensors.layers) and dtype in _HALF_PRECISION and scales == {dtype}


def load_packed(
    folder: Path,
    tensors: GPTQTensors,
    config: PreTrainedConfig,
    packing: GPTQFormat,
    dtype: torch.dtype,
    device: torch.device,
) -> PreTrainedModel:
    """The model through `transformers`, `optimum` and `gptqmodel`, its layers packed.

    Always with the backend ``gptq_torch``: it takes every group size, and its weights are known to
    be those of `dequantise`. A faster one may not: `optimum` 2.3 gives `gptqmodel` 7.6's layers
    ``sym`` for ``desc_act`` and the other way round, and some read their zero points accordingly.

    Args:
        folder: With the checkpoint.
        tensors: Of the checkpoint; all are checked, since kernels index without looking.
        config: Of the architecture; changed.
        packing: How the layers are packed.
        dtype: float16 or bfloat16.
        device: Where the model is loaded to.

    Raises:
        ModelError: A layer is malformed, or not all of the checkpoint was loaded.
    """
    for name in tensors.layers:
        tensors.layer(name)
    config.quantization_config = {
        "quant_method": "gptq",
        "bits": packing.bits,
        "group_size": packing.group_size,
        "desc_act": packing.desc_act is not False,
        "sym": packing.sym,
        "checkpoint_format": "gptq" if packing.zero_points_less_one else "gptq_v2",
        "backend": "gptq_torch",
    }
    config.transformers_weights = tensors.path.name
    model, loading = _AUTO.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        device_map={"": device},
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    _check_loading(loading, tensors)
    loaded: PreTrainedModel = model
    return loaded


def _load_dense(
    folder: Path,
    tensors: GPTQTensors,
    config: PreTrainedConfig,
    packing: GPTQFormat,
    dtype: torch.dtype,
    skeleton: PreTrainedModel,
) -> PreTrainedModel:
    modules = dict(skeleton.named_modules())
    weights = dense_weights(
        tensors,
        packing,
        dtype,
        shapes={name: tuple(tensor.shape) for name, tensor in skeleton.state_dict().items()},
        transposed=lambda layer: isinstance(modules.get(layer), Conv1D),
    )
    generation = None
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(folder)
    architecture: Any = type(skeleton)
    model, loading = architecture.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        dtype=dtype,
        generation_config=generation,
        output_loading_info=True,
    )
    _check_loading(loading, tensors)
    elsewhere = [
        name for name in loading["unexpected_keys"] if name.rpartition(".")[0] not in tensors.layers
    ]
    require_no_loss(model, stored_weights(folder), elsewhere)
    loaded: PreTrainedModel = model
    return loaded


def _local(location: str, revision: str | None) -> Path:
    """The folder of a checkpoint; one on the hub is fetched, settings and safetensors only."""
    if Path(location).is_dir():
        return Path(location)
    return Path(
        snapshot_download(location, revision=revision, allow_patterns=["*.json", "*.safetensors"])
    )


def _refuse_unexplained(folder: Path) -> None:
    """Refuse packed weights without settings: they would be taken for weights that are missing."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if any(name.endswith(".qweight") for name in file.keys()):  # noqa: SIM118
                raise ModelError(
                    f"{path.name} holds packed weights, but neither quantize_config.json nor "
                    "config.json says how they are packed; restore it from where the checkpoint "
                    "was made"
                )


def _check_layers(tensors: GPTQTensors, skeleton: PreTrainedModel) -> None:
    if not tensors.layers:
        raise ModelError("no layer is packed, though its settings say GPTQ; restore its weights")
    for name, module in skeleton.named_modules():
        if isinstance(module, torch.nn.Embedding) and name in tensors.layers:
            raise ModelError(f"layer {name}: packed embeddings are not read")


def _check_loading(loading: dict[str, Any], tensors: GPTQTensors) -> None:
    """Refuse what `transformers` only warns of: random weights, or weights without a place."""
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(f"the checkpoint has no {listed(missing)}; {INCOMPLETE}")
    lost = sorted(
        name
        for name in loading["unexpected_keys"]
        if name.rpartition(".")[0] in tensors.layers and not tensors.is_zero_bias(name)
    )
    if lost:
        raise ModelError(f"the architecture has no {listed(lost)}; {INCOMPLETE}")
