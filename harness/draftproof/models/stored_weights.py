"""What a safetensors checkpoint stores, and refusal of what would be lost or misread of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from draftproof.errors import ModelError
from draftproof.models.gptq_weights import INCOMPLETE, listed

_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))
_UNPACKED = (
    "give an unquantised checkpoint of the same model, or one of the forms that "
    "`draftproof docs models` lists"
)
_BESIDE = re.compile(
    r"vision|visual|image|video|audio|speech|talker|token2wav|multi_?modal|mm_|projector"
    r"|mtp|nextn|eagle|medusa"
    r"|score|classifier|reward|critic|value_head|v_head|multiple_choice|qa_outputs|pooler|\bcls\b|position_ids"
)
"""Parts that stand beside a language model: other senses, further heads, draft models."""
_CLASSIFIES = re.compile(r"For(Sequence|Token)Classification$|ForQuestionAnswering$")
"""Architectures trained to no next token, though one with tied embeddings could say one."""
_MOST_LAYERS = 10_000
"""Of a checkpoint that says more, making the layers would never end."""
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """Tensors in the safetensors files of a folder.

    Attributes:
        files: In which file each tensor is, by name.
        dtypes: As safetensors writes them, by name.
    """

    files: Mapping[str, Path]
    dtypes: Mapping[str, str]

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored."""
        with safe_open(self.files[name], framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor


def stored_weights(folder: Path) -> StoredWeights:
    """What the safetensors files of a folder hold, weights not read."""
    files: dict[str, Path] = {}
    dtypes: dict[str, str] = {}
    with ExitStack() as stack:
        for path in sorted(folder.glob("*.safetensors")):
            file = stack.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118
                files[name] = path
                dtypes[name] = file.get_slice(name).get_dtype()
    return StoredWeights(files, dtypes)


def require_language_model(config: PreTrainedConfig, architectures: Sequence[str]) -> None:
    """Refuse a configuration of which no causal language model can be made.

    Args:
        config: As it was read.
        architectures: For which `transformers` has a causal language model, by configuration.

    Raises:
        ModelError: Says what it is instead.
    """
    stated = listed(config.architectures or [config.model_type])
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers > _MOST_LAYERS:
        raise ModelError(
            f"config.json says that it has {layers} layers, more than any model has; check that it "
            "belongs to these weights"
        )
    if config.is_encoder_decoder:
        raise ModelError(
            f"{stated} is an encoder-decoder, and speculation here needs a model that goes on from "
            "a text; give a causal language model"
        )
    if config.architectures and all(map(_CLASSIFIES.search, config.architectures)):
        raise ModelError(
            f"{stated} classifies texts, and is no causal language model; give the one of the same "
            "family"
        )
    if type(config).__name__ not in architectures:
        raise ModelError(
            f"{stated} is no causal language model that transformers {transformers.__version__} "
            "knows; give one, or a newer transformers"
        )


def require_whole(
    loading: Mapping[str, Any], architectures: Sequence[str] = (), loaded: str = ""
) -> None:
    """Refuse a model with weights that are not the checkpoint's but random.

    Args:
        loading: What `transformers` tells of a model that it loaded.
        architectures: Of which the checkpoint is by its own configuration.
        loaded: As which it was loaded.

    Raises:
        ModelError: Names the first weights that are missing or of another shape.
    """
    why = INCOMPLETE
    if architectures and loaded not in architectures:
        why = (
            f"it is a {listed(architectures)}, which is whole without them and no causal language "
            f"model; give the {loaded} of the same family"
        )
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(f"the checkpoint has no {listed(missing)}; {why}")
    for name, found, expected in sorted(loading["mismatched_keys"]):
        raise ModelError(
            f"{name} has shape {list(found)} in the checkpoint and {list(expected)} in the "
            f"architecture; {INCOMPLETE}"
        )


def require_unpacked(
    model: PreTrainedModel, stored: StoredWeights, method: str | None
) -> tuple[str, ...]:
    """Refuse weights that are codes of others and were taken for the weights themselves.

    Args:
        model: As `transformers` loaded it.
        stored: What it was loaded from.
        method: Of quantisation, as ``config.json`` has it; None where it has none.

    Returns:
        Notes: what a user should know of the weights.

    Raises:
        ModelError: Nothing undid the method, or not everywhere; or no method is stated, and a
            weight is stored as whole numbers or with scales.
    """
    if getattr(model, "hf_quantizer", None) is not None:
        return ()
    # Undoing a method takes it out of the configuration.
    if method is not None and hasattr(model.config, "quantization_config"):
        raise ModelError(
            f"config.json says that its weights are quantised by {method!r}, which transformers "
            f"{transformers.__version__} does not undo; {_UNPACKED}"
        )
    state = model.state_dict()
    if method is not None:
        left = sorted(
            name
            for name, value in state.items()
            if value.is_floating_point() and value.element_size() == 1
        )
        if left:
            raise ModelError(
                f"config.json says that its weights are quantised by {method!r}, and the "
                f"checkpoint has no scales by a name that transformers {transformers.__version__} "
                f"knows for {listed(left)}; {_UNPACKED}"
            )
        return (f"weights are stored as {method} and were unpacked by transformers",)
    coded = sorted(
        name
        for name, kind in stored.dtypes.items()
        if kind not in _FLOATS
        and (state[name].is_floating_point() if name in state else _is_weight(name))
    )
    if not coded:
        return ()
    scales = sorted(name for name in stored.dtypes if "scale" in name.rpartition(".")[2])
    kind = stored.dtypes[coded[0]]
    if not kind.startswith("F8") or scales:
        beside = f", with scales such as {scales[0]} beside them" if scales else ""
        raise ModelError(
            f"{listed(coded)} are stored as {kind}{beside}, and config.json does not say how they "
            f"are quantised; {_UNPACKED}"
        )
    return (f"weights are stored as {kind} without scales, and taken as they are",)


def require_no_loss(
    model: PreTrainedModel, stored: StoredWeights, unexpected: Iterable[str]
) -> tuple[str, ...]:
    """Refuse weights without a place that would change what the model computes.

    Args:
        model: As `transformers` loaded it.
        stored: What it was loaded from.
        unexpected: Names of tensors that were not loaded.

    Returns:
        Notes: what was left out with reason, such as a vision tower.

    Raises:
        ModelError: Names the weights.
    """
    beside: list[str] = []
    lost: list[str] = []
    # transformers passes over rotary frequencies without a word.
    frequencies = {name for name in stored.files if name.endswith("inv_freq")}
    places = {path for path, _ in model.named_modules()}
    quantised = getattr(model, "hf_quantizer", None) is not None
    for name in sorted({*unexpected, *frequencies - model.state_dict().keys()}):
        if _without_effect(model, stored, name) or (quantised and _of_a_code(places, name)):
            continue
        (beside if _stands_beside(model, name) else lost).append(name)
    if lost:
        scaled = [name for name in lost if "scale" in name.rpartition(".")[2]]
        raise ModelError(
            f"the checkpoint has {listed(scaled or lost)}, for which {type(model).__name__} as "
            "config.json describes it has no place, and without which it is another model; "
            + (_UNPACKED if scaled else "check that config.json belongs to these weights")
        )
    return (f"the architecture has no place for {listed(beside)}; not loaded",) if beside else ()


def _is_weight(name: str) -> bool:
    """Whether a tensor is a language model's weight, by a name that the model need not have.

    `transformers` gives the experts of a mixture, for one, other names than checkpoints do.
    """
    return name.rpartition(".")[2] in ("weight", "bias") and _BESIDE.search(name) is None


def _of_a_code(places: Collection[str], name: str) -> bool:
    """Whether a tensor says how a layer's weight is quantised: scales, zero points, a map of codes.

    Args:
        places: Paths of a model's modules.
        name: Of the tensor, such as ``model.layers.0.mlp.up_proj.weight.absmax``.
    """
    layer, weight, _ = name.rpartition(".weight.")
    if weight:
        return layer in places
    layer, _, last = name.rpartition(".")
    return layer in places and last not in ("weight", "bias")


def _without_effect(model: PreTrainedModel, stored: StoredWeights, name: str) -> bool:
    """Whether a tensor holds what the model has anyway, or adds nothing."""
    if name not in stored.files:
        return False
    last = name.rpartition(".")[2]
    if last == "masked_bias":
        return True
    value = stored.read(name)
    if last == "inv_freq":
        return any(
            own.shape == value.shape and torch.allclose(own.cpu().float(), value.float(), rtol=1e-2)
            for own in _buffers(model, "inv_freq")
        )
    if last != "bias":
        return False
    # A causal mask, as GPT-2 and GPT-NeoX kept them; or a bias of zeros.
    return bool(value.dim() == 4 and torch.equal(value, value.tril())) or not bool(value.any())


def _buffers(model: PreTrainedModel, name: str) -> Iterator[torch.Tensor]:
    return (value for path, value in model.named_buffers() if path.rpartition(".")[2] == name)


def _stands_beside(model: PreTrainedModel, name: str) -> bool:
    config = model.config.get_text_config(decoder=True)
    layer = _LAYER.search(f".{name}")
    if layer is None:
        return _BESIDE.search(name) is not None
    # Layers after the last predict further tokens, where the configuration counts such.
    further = getattr(config, "num_nextn_predict_layers", None) or 0
    after = int(layer[1]) - config.num_hidden_layers
    return 0 <= after < further or _BESIDE.search(name[: layer.start()]) is not None
