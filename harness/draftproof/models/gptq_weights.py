"""Dense weights from the packed ones of a GPTQ checkpoint.

A linear layer is stored as whole-number codes, several to a 32-bit word and the first in the lowest
bits, with a scale and a zero point for each output feature of a group of input features::

    weight[o, i] = scales[g, o] * (code[i, o] - zero_point[g, o])        g = g_idx[i]
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open

from draftproof.errors import ModelError
from draftproof.models.gptq_format import GPTQFormat, shards

_WORD_BITS = 32
_ROWS_AT_A_TIME = 64
INCOMPLETE = "the files or their settings are not whole; download the checkpoint again"

_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_PARTS: dict[str, tuple[tuple[torch.dtype, ...], int]] = {
    "qweight": ((torch.int32,), 2),
    "qzeros": ((torch.int32,), 2),
    "scales": (_FLOATS, 2),
    "g_idx": ((torch.int32, torch.int64), 1),
}
"""Of each tensor of a packed layer the dtypes that are read, and its number of dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    """One linear layer as it is stored.

    Attributes:
        qweight: Codes, packed along the input features.
        qzeros: Zero points, packed along the output features.
        scales: One for each group and output feature.
        g_idx: The group of each input feature.
    """

    qweight: Int[torch.Tensor, "packed_inputs outputs"]
    qzeros: Int[torch.Tensor, "groups packed_outputs"]
    scales: Float[torch.Tensor, "groups outputs"]
    g_idx: Int[torch.Tensor, " inputs"]


def unpack(words: Int[torch.Tensor, "... words"], bits: int) -> Int[torch.Tensor, "... codes"]:
    """The codes in packed words, along the last axis, from the lowest bits up.

    Args:
        words: Of 32 bits.
        bits: Of a code; divides 32.

    Example:
        >>> unpack(torch.tensor([0x76543210]), 4).tolist()
        [0, 1, 2, 3, 4, 5, 6, 7]
    """
    shifts = torch.arange(0, _WORD_BITS, bits, dtype=words.dtype)
    return (words.unsqueeze(-1) >> shifts & (1 << bits) - 1).flatten(-2)


def zero_points(
    qzeros: Int[torch.Tensor, "groups packed_outputs"], packing: GPTQFormat
) -> Int[torch.Tensor, "groups padded_outputs"]:
    """The zero points in packed words, with what the first format subtracted put back.

    1 is added to each in one addition to the whole word. That undoes a borrow, and where there was
    none it is the addition to each alone.
    """
    words = qzeros.to(torch.int64)
    if packing.zero_points_less_one:
        words = words + sum(1 << shift for shift in range(0, _WORD_BITS, packing.bits))
    return unpack(words, packing.bits)


def dequantise(
    layer: PackedLayer, packing: GPTQFormat, dtype: torch.dtype
) -> Float[torch.Tensor, "outputs inputs"]:
    """The dense weight of a layer, computed in float32 and then cast.

    Args:
        layer: As `GPTQTensors.layer` returns it, shapes and group numbers checked.
        packing: How it is packed.
        dtype: Of the result.
    """
    inputs, outputs = len(layer.g_idx), layer.scales.shape[1]
    zeros = zero_points(layer.qzeros, packing)[:, :outputs].float().t()
    scales = layer.scales.float().t()
    groups = layer.g_idx.long()
    dense = torch.empty((outputs, inputs), dtype=dtype)
    step = _ROWS_AT_A_TIME * _WORD_BITS // packing.bits
    # Some rows of words at a time: codes take eight times the memory of their words.
    for start, words in zip(
        range(0, inputs, step), torch.split(layer.qweight, _ROWS_AT_A_TIME), strict=True
    ):
        here = groups[start : start + step]
        codes = unpack(words.t(), packing.bits)[:, : len(here)]
        dense[:, start : start + step] = scales[:, here] * (codes - zeros[:, here])
    return dense


def _check(parts: Mapping[str, torch.Tensor], packing: GPTQFormat) -> None:
    per_word = _WORD_BITS // packing.bits
    groups, outputs = parts["scales"].shape
    inputs = len(parts["g_idx"])
    group_size = inputs if packing.group_size == -1 else packing.group_size
    expected = {
        "qweight": (-(-inputs // per_word), outputs),
        "qzeros": (groups, -(-outputs // per_word)),
        "scales": (-(-inputs // max(1, group_size)), outputs),
    }
    for name, shape in expected.items():
        if (found := tuple(parts[name].shape)) != shape:
            raise ModelError(
                f"{name} has the shape {found}, and not {shape} as {packing} of {inputs} inputs "
                f"and {outputs} outputs has; {INCOMPLETE}"
            )
    if inputs and not 0 <= int(parts["g_idx"].min()) <= int(parts["g_idx"].max()) < groups:
        raise ModelError(f"g_idx names a group that is not one of the {groups}; {INCOMPLETE}")
    if not bool(torch.isfinite(parts["scales"]).all()):
        raise ModelError(f"a scale is not a finite number; {INCOMPLETE}")
    if packing.zero_points_less_one and not packing.borrows:
        _check_overwritten(parts["qzeros"][:, : outputs // per_word], packing.bits)


def _check_overwritten(qzeros: Int[torch.Tensor, "groups full_words"], bits: int) -> None:
    """Refuse what AutoGPTQ leaves of a word with a zero point of 0: ones from there to the top.

    A borrow can leave the same word, though hardly ever: zero points of 0, 1, 1 and so on to the
    top. A zero point of 0 at the very top overwrites nothing.
    """
    top_two = -1 << (_WORD_BITS - 2 * bits)
    if bool((qzeros & top_two == top_two).any()):
        raise ModelError(
            "zero points of 0 have overwritten others, a fault of AutoGPTQ's packing; quantise the "
            "model again with sym, or in the format gptq_v2"
        )


class GPTQTensors(contextlib.ExitStack):
    """The tensors of a GPTQ checkpoint, read from its safetensors files as they are asked for.

    Args:
        path: As `weight_file` found it.
        packing: How the linear layers are packed.

    Raises:
        ModelError: A file is missing, or is not a safetensors file.
    """

    def __init__(self, path: Path, packing: GPTQFormat) -> None:
        super().__init__()
        self.path = path
        self._packing = packing
        self._files: dict[str, Any] = {}
        for file_path in shards(path):
            try:
                file = self.enter_context(safe_open(file_path, framework="pt"))
            except (OSError, SafetensorError) as error:
                self.close()
                raise ModelError(f"cannot read {file_path.name}: {error}") from error
            self._files.update(dict.fromkeys(file.keys(), file))
        self.layers = tuple(
            sorted(
                name.removesuffix(".qweight") for name in self._files if name.endswith(".qweight")
            )
        )
        """Names of the packed linear layers."""

    def names(self) -> tuple[str, ...]:
        """Of the tensors that are not packed: embeddings, norms, biases, perhaps the head."""
        packed = {f"{layer}.{part}" for layer in self.layers for part in _PARTS}
        return tuple(sorted(self._files.keys() - packed))

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor as it is stored."""
        stored: torch.Tensor = self._files[name].get_tensor(name)
        return stored

    def layer(self, name: str) -> PackedLayer:
        """A packed layer.

        Raises:
            ModelError: Names the layer, of which a tensor is missing or does not fit the others.
        """
        try:
            parts = self._parts(name)
            _check(parts, self._packing)
        except ModelError as error:
            raise ModelError(f"layer {name}: {error}") from error
        return PackedLayer(**parts)

    def is_zero_bias(self, name: str) -> bool:
        """Whether a tensor is a bias without effect: AutoGPTQ gives every layer one."""
        return name.endswith(".bias") and not bool(self.tensor(name).any())

    def _parts(self, name: str) -> dict[str, torch.Tensor]:
        parts = {part: self._part(name, part) for part in _PARTS if part != "g_idx"}
        if f"{name}.g_idx" in self._files:
            return {**parts, "g_idx": self._part(name, "g_idx")}
        if self._packing.desc_act is not False:
            raise ModelError("g_idx is missing, which only desc_act false makes dispensable")
        inputs = parts["qweight"].shape[0] * _WORD_BITS // self._packing.bits
        size = inputs if self._packing.group_size == -1 else self._packing.group_size
        return {**parts, "g_idx": torch.arange(inputs) // max(1, size)}

    def _part(self, layer: str, part: str) -> torch.Tensor:
        name = f"{layer}.{part}"
        if name not in self._files:
            raise ModelError(f"{part} is missing; {INCOMPLETE}")
        found = self.tensor(name)
        dtypes, dimensions = _PARTS[part]
        if found.dtype not in dtypes or found.dim() != dimensions:
            raise ModelError(
                f"{part} is {str(found.dtype).removeprefix('torch.')} of {found.dim()} dimensions, "
                f"and not {str(dtypes[0]).removeprefix('torch.')} of {dimensions}; {INCOMPLETE}"
            )
        return found


def dense_weights(
    tensors: GPTQTensors,
    packing: GPTQFormat,
    dtype: torch.dtype,
    *,
    shapes: Mapping[str, Sequence[int]],
    transposed: Callable[[str], bool],
) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors with each packed layer replaced by its dense weight.

    Args:
        tensors: The checkpoint.
        packing: How its layers are packed.
        dtype: Of the dense weights; other tensors stay as they are stored.
        shapes: Of the architecture's parameters, by name.
        transposed: Whether a layer keeps its weight as ``[inputs, outputs]``.

    Returns:
        By name. A bias of zeros that the architecture has no place for is left out.

    Raises:
        ModelError: Names the layer that cannot be read, or does not fit the architecture.
    """
    dense = {name: tensors.tensor(name) for name in tensors.names()}
    for layer in tensors.layers:
        bias = f"{layer}.bias"
        if bias in dense and bias not in shapes and tensors.is_zero_bias(bias):
            del dense[bias]
        weight = dequantise(tensors.layer(layer), packing, dtype)
        weight = weight.t().contiguous() if transposed(layer) else weight
        expected = shapes.get(f"{layer}.weight", weight.shape)
        if tuple(weight.shape) != tuple(expected):
            raise ModelError(
                f"layer {layer}: its weight has the shape {tuple(weight.shape)}, where config.json "
                f"asks for {tuple(expected)}; {INCOMPLETE}"
            )
        dense[f"{layer}.weight"] = weight
    return dense


def listed(names: Sequence[str]) -> str:
    """Some names, or the first three and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
