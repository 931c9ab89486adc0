"""A key-value cache from which the kept path of a tree can be gathered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers.cache_utils import Cache, DynamicLayer

_INITIAL_CAPACITY = 256


class TreeLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values in buffers that grow by doubling.

    Entries lie at ``[0, length)``; what lies beyond is never read. Sliding-window layers keep every
    entry too, since a window is enforced by the attention mask, so that any entry can still be
    gathered or dropped.
    """

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries ``[1, heads, new, head_dim]``; returns all keys and all values.

        Mutates: the buffers and `length`.
        """
        end = self.length + key_states.shape[-2]
        if not self.is_initialized or self.keys.shape[-2] < end:
            self._grow(key_states, value_states, end)
        self.keys[..., self.length : end, :] = key_states
        self.values[..., self.length : end, :] = value_states
        self.length = end
        return self.keys[..., :end, :], self.values[..., :end, :]

    def keep(self, start: int, offsets: Sequence[int]) -> None:
        """Keep the entries before `start` and those at ``start + offsets``, in that order.

        Mutates: the buffers and `length`.
        """
        if list(offsets) != list(range(len(offsets))):
            index = torch.tensor(offsets, device=self.keys.device) + start
            end = start + len(offsets)
            self.keys[..., start:end, :] = self.keys.index_select(-2, index)
            self.values[..., start:end, :] = self.values.index_select(-2, index)
        self.length = start + len(offsets)

    def get_seq_length(self) -> int:
        return self.length

    def reset(self) -> None:
        self.length = 0

    def _grow(self, key_states: torch.Tensor, value_states: torch.Tensor, end: int) -> None:
        capacity = max(_INITIAL_CAPACITY, 2 * end)
        old_keys, old_values = self.keys, self.values
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys = key_states.new_zeros((*key_states.shape[:-2], capacity, key_states.shape[-1]))
        self.values = value_states.new_zeros(
            (*value_states.shape[:-2], capacity, value_states.shape[-1])
        )
        if self.is_initialized:
            self.keys[..., : self.length, :] = old_keys[..., : self.length, :]
            self.values[..., : self.length, :] = old_values[..., : self.length, :]
        self.is_initialized = True


class TreeCache(Cache):
    """A `TreeLayer` for each layer of a model, created when the layer is first used."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=TreeLayer)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Entries held by each layer."""
        return tuple(layer.length for layer in self._tree_layers)

    def keep(self, start: int, offsets: Sequence[int]) -> None:
        """`TreeLayer.keep` in every layer."""
        for layer in self._tree_layers:
            layer.keep(start, offsets)

    def reset(self) -> None:
        for layer in self._tree_layers:
            layer.reset()

    @property
    def _tree_layers(self) -> list[TreeLayer]:
        return cast("list[TreeLayer]", self.layers)
