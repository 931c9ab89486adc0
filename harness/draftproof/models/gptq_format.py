"""What a GPTQ checkpoint says of itself: how its layers are packed, and in which files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from draftproof.errors import ModelError

_INSTEAD = "give an unquantised, a GGUF or a plain 4- or 8-bit GPTQ checkpoint of the same model"
_OTHER_PACKINGS = (
    "auto-round",
    "awq",
    "bitblas",
    "gptq_marlin",
    "intel/auto-round",
    "marlin",
    "paroquant",
    "qqq",
)
_WEIGHTS = ".safetensors"
_INDEX = ".safetensors.index.json"
_UNREAD = {
    "dynamic": "other settings for some layers",
    "adapter": "an adapter beside its weights",
    "rotation": "rotated weights",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTQFormat:
    """How the linear layers of a checkpoint are packed.

    Attributes:
        bits: Of a weight and of a zero point.
        group_size: Input features that share a scale and a zero point; -1 for all of a layer's.
        desc_act: Whether groups follow the order of activations, not that of input features; None
            where the checkpoint does not say.
        sym: Whether all zero points are the middle code. Says nothing that the weights do not.
        zero_points_less_one: Whether 1 was subtracted from each packed zero point (`gptq`, the
            first format), or not (`gptq_v2`).
        borrows: Whether that was subtracted from packed words, in which a zero point of 0 borrows
            from the next one, as GPTQModel does. AutoGPTQ subtracts before it packs, where a zero
            point of 0 overwrites the ones after it.
        base_name: Of the weight file, where the checkpoint says it.
    """

    bits: Literal[4, 8]
    group_size: int
    desc_act: bool | None
    sym: bool
    zero_points_less_one: bool
    borrows: bool
    base_name: str | None = None

    def __str__(self) -> str:
        return f"{self.bits}-bit GPTQ, group size {self.group_size}"


def read_format(folder: Path) -> GPTQFormat | None:
    """The format of the GPTQ checkpoint in a folder; None if it holds none.

    Args:
        folder: With a ``config.json``, and perhaps a ``quantize_config.json``.

    Raises:
        ModelError: The settings are incomplete, or of a kind that is not read.
    """
    settings = _read_json(folder / "config.json").get("quantization_config")
    where = "quantization_config in config.json"
    if settings is None and (folder / "quantize_config.json").is_file():
        settings = _read_json(folder / "quantize_config.json")
        where = "quantize_config.json"
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise ModelError(f"{where} is not a table of settings")
    return parse_format(settings, where)


def parse_format(settings: Mapping[str, Any], where: str) -> GPTQFormat | None:
    """The format that some settings describe; None if they are of a method that is not like GPTQ.

    Args:
        settings: As AutoGPTQ, GPTQModel or `transformers` write them.
        where: The file they are from, for errors.

    Raises:
        ModelError: A key is missing or has no valid value, or the packing is not read.

    Example:
        >>> print(parse_format({"bits": 4, "group_size": 128}, "quantize_config.json"))
        4-bit GPTQ, group size 128
    """
    method = str(settings.get("quant_method", settings.get("method", "gptq"))).lower()
    if method not in {"gptq", *_OTHER_PACKINGS}:
        return None
    layout = str(settings.get("checkpoint_format", settings.get("format")) or "gptq").lower()
    if settings.get("is_marlin_format"):
        layout = "marlin"
    for name in (method, layout):
        if name not in {"gptq", "gptq_v2"}:
            raise ModelError(f"{where}: weights packed as {name} are not read; {_INSTEAD}")
    meta = settings.get("meta") or {}
    for key, content in _UNREAD.items():
        if settings.get(key) or meta.get(key):
            raise ModelError(f"{where}: {key} is set; {content} cannot be read; {_INSTEAD}")
    word = settings.get("pack_dtype") or meta.get("pack_dtype") or "int32"
    if str(word).removeprefix("torch.") != "int32":
        raise ModelError(f"{where}: weights packed in words of {word} are not read; {_INSTEAD}")
    bits = _integer(settings, "bits", where)
    if bits not in (4, 8):
        raise ModelError(f"{where}: {bits}-bit weights are not read; {_INSTEAD}")
    group_size = _integer(settings, "group_size", where)
    if group_size != -1 and group_size < 1:
        raise ModelError(f"{where}: group_size is {group_size}; it is -1 or a number of features")
    base_name = settings.get("model_file_base_name")
    return GPTQFormat(
        bits=4 if bits == 4 else 8,
        group_size=group_size,
        desc_act=_boolean(settings, "desc_act", where),
        sym=_boolean(settings, "sym", where) is not False,
        zero_points_less_one=layout == "gptq",
        borrows="gptqmodel" in str(meta.get("quantizer", "")).lower(),
        base_name=base_name if isinstance(base_name, str) and _plain(base_name) else None,
    )


def weight_file(folder: Path, base_name: str | None) -> Path:
    """The one safetensors file of a checkpoint, or the index of its shards.

    Args:
        folder: With the weights.
        base_name: The file's name without its ending, where the settings say it.

    Raises:
        ModelError: There is none, or more than one could be it.
    """
    for name in (base_name, "model"):
        for ending in (_INDEX, _WEIGHTS):
            if name is not None and (path := folder / f"{name}{ending}").is_file():
                return path
    for ending in (_INDEX, _WEIGHTS):
        found = sorted(folder.glob(f"*{ending}"))
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelError(
                f"cannot tell which of {', '.join(path.name for path in found)} holds the weights; "
                "keep one, or the index of the shards beside them"
            )
    raise ModelError("the checkpoint has no .safetensors file; pickled weights are not read")


def shards(path: Path) -> tuple[Path, ...]:
    """The safetensors files that an index names; of a file that is not an index, itself.

    Raises:
        ModelError: The index is corrupt, or a shard is missing or elsewhere.
    """
    if not path.name.endswith(_INDEX):
        return (path,)
    weight_map = _read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"{path.name} has no weight_map; download it again")
    files = []
    for name in sorted({str(file) for file in weight_map.values()}):
        if not _plain(name) or not name.endswith(_WEIGHTS):
            raise ModelError(f"{path.name} names {name!r}, which is no file of the checkpoint")
        if not (path.parent / name).is_file():
            raise ModelError(f"the shard {name} that {path.name} names is missing; download it")
        files.append(path.parent / name)
    return tuple(files)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path.name}: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} is not a table of settings")
    return content


def _plain(name: str) -> bool:
    """Whether a name stays in its folder."""
    return Path(name).name == name and "\\" not in name


def _integer(settings: Mapping[str, Any], key: str, where: str) -> int:
    if key not in settings:
        raise ModelError(f"{where} has no {key}; restore it from where the checkpoint was made")
    value = settings[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"{where}: {key} is {value!r}, not a whole number")
    return value


def _boolean(settings: Mapping[str, Any], key: str, where: str) -> bool | None:
    value = settings.get(key)
    if value is not None and not isinstance(value, bool):
        raise ModelError(f"{where}: {key} is {value!r}, not true or false")
    return value
