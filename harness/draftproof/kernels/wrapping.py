"""Kernels called another way that must change nothing: rows shuffled, alone, beside others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch

from draftproof.kernels.contract import Call, ChainCall, Kernel

Any_Call = TypeVar("Any_Call", bound=Call)

Change = Callable[[Call], Call]


def mapped(call: Any_Call, change: Callable[[torch.Tensor], torch.Tensor]) -> Any_Call:
    """A call with every tensor changed."""
    tensors = {
        field.name: change(value)
        for field in fields(call)
        if isinstance(value := getattr(call, field.name), torch.Tensor)
    }
    return replace(call, **tensors)  # type: ignore[arg-type]


def picked(returned: Any, rows: torch.Tensor) -> Any:
    """Rows of what a kernel returned."""
    if isinstance(returned, tuple):
        return tuple(picked(part, rows) for part in returned)
    return torch.as_tensor(returned)[rows.to(torch.as_tensor(returned).device)]


def shuffled(kernel: Kernel, seed: int) -> Kernel:
    """The kernel on rows in another order, its output put back in order."""

    def wrapped(call: Call, /) -> Any:
        rows = call.target_probabilities.shape[0]
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        back = torch.argsort(order)
        return picked(kernel(mapped(call, lambda t: t[order.to(t.device)])), back)

    return wrapped


def alone(kernel: Kernel) -> Kernel:
    """The kernel on one row a call."""
    return in_batches(kernel, 1)


def in_batches(kernel: Kernel, size: int) -> Kernel:
    """The kernel on so many rows a call; the last call has those that are left."""

    def wrapped(call: Call, /) -> Any:
        parts = []
        for first in range(0, call.target_probabilities.shape[0], size):
            here = slice(first, first + size)
            parts.append(kernel(mapped(call, lambda t, here=here: t[here])))  # type: ignore[misc]
        return _joined(parts)

    return wrapped


def last_of(kernel: Kernel, size: int) -> Kernel:
    """Every row as the last one of a call of so many, after the rows before it."""

    def wrapped(call: Call, /) -> Any:
        rows = call.target_probabilities.shape[0]
        parts = []
        for row in range(rows):
            order = torch.arange(row - size + 1, row + 1) % rows
            returned = kernel(mapped(call, lambda t, order=order: t[order.to(t.device)]))  # type: ignore[misc]
            parts.append(picked(returned, torch.tensor([size - 1])))
        return _joined(parts)

    return wrapped


def after(kernel: Kernel, change: Change) -> Kernel:
    """The kernel, called on changed rows before it is called on those that count."""

    def wrapped(call: Call, /) -> Any:
        kernel(change(mapped(call, torch.clone)))
        return kernel(call)

    return wrapped


def relaid(kernel: Kernel) -> Kernel:
    """The kernel on the same values, which do not lie one after another in memory."""

    def spread(values: torch.Tensor) -> torch.Tensor:
        wide = torch.zeros((*values.shape, 2), dtype=values.dtype, device=values.device)
        wide[..., 1] = 1
        wide[..., 0] = values
        return wide[..., 0]

    return lambda call: kernel(mapped(call, spread))


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_stacked([part[i] for part in parts]) for i in range(len(parts[0])))
    return _stacked(parts)


def _stacked(parts: list[Any]) -> torch.Tensor:
    tensors = [torch.as_tensor(part) for part in parts]
    if tensors[0].ndim < 2:
        return torch.cat([part.reshape(-1) for part in tensors])
    width = max(part.shape[1] for part in tensors)
    return torch.cat(
        [torch.nn.functional.pad(part, (0, width - part.shape[1]), value=-1) for part in tensors]
    )


def beside(kernel: Kernel, poison: Change, *, last: bool = True) -> Kernel:
    """The kernel on twice the rows: others, which are poisoned, stand after or between them.

    Args:
        kernel: To call.
        poison: What the other rows are, made from a copy of the call.
        last: Whether all of them stand after the rows; else one before each.
    """

    def wrapped(call: Call, /) -> Any:
        rows = call.target_probabilities.shape[0]
        others = poison(mapped(call, torch.clone))
        doubled = {
            field.name: torch.cat([value, getattr(others, field.name)])
            for field in fields(call)
            if isinstance(value := getattr(call, field.name), torch.Tensor)
        }
        joined = replace(call, **doubled)  # type: ignore[arg-type]
        order = torch.arange(2 * rows)
        if not last:
            order = torch.stack([order[rows:], order[:rows]], 1).reshape(-1)
        returned = kernel(mapped(joined, lambda t: t[order.to(t.device)]))
        return picked(returned, torch.argsort(order)[:rows])

    return wrapped


def repadded(kernel: Kernel, law: float, token: int | None) -> Kernel:
    """The kernel with other values in a chain's padding.

    Args:
        kernel: To call.
        law: What stands in the laws beyond a row's end.
        token: What stands in the ids beyond a row's end; None for the row's own first law's argmax.
    """

    def wrapped(call: Call, /) -> Any:
        assert isinstance(call, ChainCall)
        lengths = call.draft_lengths[:, None]
        places = torch.arange(call.places + 1, device=lengths.device)[None]
        beyond = places > lengths
        target = torch.where(beyond[..., None], law, call.target_probabilities)
        draft = call.draft_probabilities
        outside = places[:, : call.places] >= lengths
        if draft is not None:
            draft = torch.where(outside[..., None], law, draft)
        best = call.target_probabilities[:, 0].argmax(-1, keepdim=True)
        filling = best if token is None else torch.full_like(best, token)
        tokens = torch.where(outside, filling, call.draft_tokens)
        changed = replace(
            call,
            target_probabilities=target.to(call.target_probabilities.dtype),
            draft_probabilities=draft,
            draft_tokens=tokens,
        )
        return kernel(changed)

    return wrapped


def _with_laws(call: Call, value: float) -> Call:
    changed: dict[str, Any] = {
        "target_probabilities": torch.full_like(call.target_probabilities, value)
    }
    if call.draft_probabilities is not None:
        changed["draft_probabilities"] = torch.full_like(call.draft_probabilities, value)
    return replace(call, **changed)


def _certain(call: Call) -> Call:
    laws = torch.zeros_like(call.target_probabilities)
    laws[..., -1] = 1
    changed: dict[str, Any] = {"target_probabilities": laws}
    if call.uniforms is not None:
        changed["uniforms"] = torch.zeros_like(call.uniforms)
    if isinstance(call, ChainCall):
        changed["greedy"] = torch.ones_like(call.greedy)
    return replace(call, **changed)


def _reversed(call: Call) -> Call:
    laws = call.target_probabilities.flip(-1)
    changed: dict[str, Any] = {"target_probabilities": laws}
    if call.uniforms is not None:
        changed["uniforms"] = 1 - 1 / 1024 - call.uniforms.clamp_max(1 - 1 / 1024)
    return replace(call, **changed)


def _empty(call: Call) -> Call:
    if not isinstance(call, ChainCall):
        return _reversed(call)
    return replace(call, draft_lengths=torch.zeros_like(call.draft_lengths))


POISONS: dict[str, Change] = {
    "rows whose laws are reversed": _reversed,
    "rows that are certain and greedy": _certain,
    "rows without drafted tokens": _empty,
    "rows whose laws are all alike": lambda call: _with_laws(
        call, 1 / call.target_probabilities.shape[-1]
    ),
    "rows whose laws are NaN": lambda call: _with_laws(call, float("nan")),
}
"""What the other rows of a batch are."""
