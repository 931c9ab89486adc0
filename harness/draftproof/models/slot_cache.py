"""A key-value cache of rows of slots, and one plan a forward pass for all layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Int64
from transformers.cache_utils import Cache, CacheLayerMixin

from draftproof.transfer import sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the entries of one forward pass go, and which slots it reads.

    Attributes:
        row: The row that is prefilled from its first slot on; None for a pass over all rows.
        slots: Where the new entries of every row go: ``[B, n]``, or the first of ``n`` slots that
            are the same in every row.
        span: Slots that are read, from the first on.
    """

    row: int | None = None
    slots: Int64[torch.Tensor, "B n"] | int = 0
    span: int = 0


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values ``[B, heads, capacity, size]``.

    Sliding-window layers keep every entry too, since a window is enforced by the attention mask, so
    that any entry can still be gathered or dropped.
    """

    is_sliding = False
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plan = Plan()
        self.shape = (1, 1)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the entries of a pass ``[B, heads, n, size]`` where the plan says.

        Returns:
            The keys and the values that the pass reads.

        Mutates: the buffers.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        plan = self.plan
        for buffer, states in ((self.keys, key_states), (self.values, value_states)):
            n = states.shape[-2]
            if plan.row is not None:
                buffer[plan.row, :, :n] = states[0]
            elif isinstance(plan.slots, int):
                buffer[:, :, plan.slots : plan.slots + n] = states
            else:
                row = torch.arange(len(states), device=states.device)[:, None]
                buffer[row, :, plan.slots.to(states.device)] = states.transpose(1, 2)
        if plan.row is not None:
            return key_states, value_states
        return self.keys[:, :, : plan.span], self.values[:, :, : plan.span]

    def move(
        self,
        rows: Int64[torch.Tensor, " moved"],
        source: Int64[torch.Tensor, " moved"],
        destination: Int64[torch.Tensor, " moved"],
    ) -> None:
        """Copy entries of some rows from slots to slots.

        Mutates: the buffers.
        """
        for buffer in (self.keys, self.values):
            buffer[rows, :, destination] = buffer[rows, :, source]

    def resize(self, rows: int, capacity: int) -> None:
        """Make room for more rows or slots, keeping what there is."""
        self.shape = (rows, capacity)
        if not self.is_initialized:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros((rows, old.shape[1], capacity, old.shape[3]))
            new[: old.shape[0], :, : old.shape[2]] = old
            setattr(self, name, new)

    def keep(self, rows: Int64[torch.Tensor, " rows"]) -> None:
        """Go on with some rows, in this order."""
        if self.is_initialized:
            self.keys, self.values = self.keys[rows], self.values[rows]
        self.shape = (len(rows), self.shape[1])

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        rows, capacity = self.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            states.new_zeros((rows, states.shape[1], capacity, states.shape[3]))
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """For a prefill, whose mask transformers makes itself: its own tokens, and none before."""
        return query_length, 0

    def get_seq_length(self) -> int:
        """What lies before a prefill."""
        return 0

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """A `SlotLayer` for each layer of a model, created when the layer is first used."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=cast("type[SlotLayer]", self._layer))
        self._plan = Plan()
        self._shape = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, and slots of each."""
        return self._shape

    @property
    def entries(self) -> int:
        """Layers that hold entries."""
        return len(self.layers)

    def follow(self, plan: Plan) -> None:
        """Let the next forward pass write and read by a plan."""
        self._plan = plan
        for layer in self._slot_layers:
            layer.plan = plan

    def resize(self, rows: int, capacity: int) -> None:
        """`SlotLayer.resize` in every layer."""
        self._shape = (rows, capacity)
        for layer in self._slot_layers:
            layer.resize(rows, capacity)

    def move(self, rows: Sequence[int], source: Sequence[int], destination: Sequence[int]) -> None:
        """`SlotLayer.move` in every layer."""
        where: dict[torch.device, list[torch.Tensor]] = {}
        for layer in self._slot_layers:
            if layer.device not in where:
                where[layer.device] = [
                    sent(index, layer.device) for index in (rows, source, destination)
                ]
            layer.move(*where[layer.device])

    def keep(self, rows: Sequence[int]) -> None:
        """`SlotLayer.keep` in every layer."""
        self._shape = (len(rows), self._shape[1])
        for layer in self._slot_layers:
            device = layer.device if layer.is_initialized else torch.device("cpu")
            layer.keep(torch.tensor(rows, dtype=torch.int64, device=device))

    def _layer(self) -> SlotLayer:
        layer = SlotLayer()
        layer.plan = self._plan
        layer.shape = self._shape
        return layer

    @property
    def _slot_layers(self) -> list[SlotLayer]:
        return cast("list[SlotLayer]", self.layers)
