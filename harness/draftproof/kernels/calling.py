"""Calls a kernel on rows of tables, and reads what it emitted."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from draftproof.errors import DraftproofError
from draftproof.kernels.contract import END, Call, ChainCall, Kernel, KernelFacts, Shape, TreeCall
from draftproof.kernels.tables import DraftTable
from draftproof.tree import depths

ELEMENTS = 30_000_000
"""The most probabilities of one call, so that large vocabularies fit into memory."""


class KernelError(DraftproofError):
    """A kernel raised, or returned what no kernel may return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a kernel emitted on some rows.

    Attributes:
        tokens: ``[rows, width]`` positions in the support; `END` after the end, and `OUTSIDE` for
            an id that no law has.
        accepted: ``[rows]`` the accepted lengths that the kernel states, or None.
    """

    tokens: np.ndarray
    accepted: np.ndarray | None = None

    def emission(self, row: int) -> tuple[int, ...]:
        """What one row emitted."""
        return tuple(int(token) for token in self.tokens[row] if token != END)


OUTSIDE = -2
"""Stands for an emitted id that is not in the support."""


class Tables:
    """Tables as tensors, from which rows of a call are picked.

    Args:
        tables: Chains, of several lengths where the kernel takes them, or trees of as many nodes.
        facts: Of the kernel.
        places: At least as many as the longest chain has.
        vocabulary: At least as large as the tables'.
    """

    def __init__(
        self,
        tables: Sequence[DraftTable],
        facts: KernelFacts,
        *,
        places: int = 0,
        vocabulary: int = 0,
    ) -> None:
        self.tables = list(tables)
        self.facts = facts
        self.places = max([places, *map(len, tables)])
        self.vocabulary = max([vocabulary, *(table.vocabulary for table in tables)])
        self.lengths = np.array([len(table) for table in tables])
        self.ids = sorted({i for table in tables for i in table.ids})
        self.coins = facts.coins(self.places)
        dtype, device = facts.torch_dtype, facts.device
        shape = (len(tables), self.places + 1, self.vocabulary)
        target, draft = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)
        tokens = torch.full((len(tables), self.places), facts.padding_token, dtype=torch.int64)
        for row, table in enumerate(self.tables):
            ids = torch.tensor(table.ids)
            steps = range(len(table) + 1)
            laws = torch.from_numpy(table.target)
            if table.greedy and not facts.greedy_rows:
                laws = torch.nn.functional.one_hot(laws.argmax(1), laws.shape[1]).double()
            for step in steps:
                target[row, step, ids] = laws[step].to(dtype)
                draft[row, step, ids] = torch.from_numpy(table.draft[step]).to(dtype)
            tokens[row, : len(table)] = ids[list(table.tokens)] if table.tokens else tokens[row, :0]
        self.target, self.draft = target.to(device), draft.to(device)
        self.tokens = tokens.to(device)
        self.greedy = torch.tensor([table.greedy for table in tables], device=device)
        trees = [table.parents for table in tables] if facts.shape is Shape.TREE else []
        self.parents = torch.tensor(trees, dtype=torch.int64, device=device)

    def as_given(self) -> list[DraftTable]:
        """The tables as the kernel is given them: laws rounded to its dtype, ids of the batch."""
        given = []
        for row, table in enumerate(self.tables):
            ids = torch.tensor(table.ids)
            steps = len(table) + 1
            target = self.target[row, :steps].cpu().double()[:, ids].numpy()
            draft = self.draft[row, :steps].cpu().double()[:, ids].numpy()
            given.append(replace(table, target=target, draft=draft, vocabulary=self.vocabulary))
        return given

    def call(
        self,
        rows: np.ndarray,
        uniforms: np.ndarray | None = None,
        generator: torch.Generator | None = None,
    ) -> Call:
        """The arguments for rows of these tables.

        Args:
            rows: ``[rows]`` index of each row's table.
            uniforms: ``[rows, coins]`` float64.
            generator: To hand on.
        """
        device = self.facts.device
        pick = torch.from_numpy(np.ascontiguousarray(rows)).to(device)
        coins = None
        if uniforms is not None:
            dtype = torch.float64 if self.facts.dtype == "float64" else torch.float32
            coins = torch.from_numpy(np.ascontiguousarray(uniforms)).to(dtype)
            # Rounding to float32 may reach 1, which is no uniform.
            coins = coins.clamp_max(1 - torch.finfo(dtype).eps / 2).to(device)
        target, tokens = self.target[pick], self.tokens[pick]
        draft = None if self.facts.deterministic else self.draft[pick]
        if self.facts.shape is Shape.TREE:
            return TreeCall(
                tokens=tokens,
                parents=self.parents[pick],
                draft_probabilities=draft,
                target_probabilities=target,
                uniforms=coins,
                generator=generator,
            )
        return ChainCall(
            draft_tokens=tokens,
            draft_lengths=torch.from_numpy(self.lengths[rows]).to(device),
            draft_probabilities=None if draft is None else draft[:, : self.places].contiguous(),
            target_probabilities=target,
            greedy=self.greedy[pick],
            uniforms=coins,
            generator=generator,
        )

    def read(self, returned: Any, rows: int) -> Reading:
        """What a kernel returned, in positions of the support.

        Raises:
            KernelError: It is no table of integers with a row for each row.
        """
        accepted = None
        if isinstance(returned, tuple):
            if len(returned) != 2:
                raise KernelError(
                    f"the kernel returned {len(returned)} values; it must return the emitted "
                    "tokens, or these and the accepted lengths"
                )
            returned, accepted = returned
        ids = as_integers(returned, "emitted tokens")
        if ids.ndim != 2 or len(ids) != rows:
            raise KernelError(
                f"the kernel returned emitted tokens of shape {list(ids.shape)} for {rows} rows; "
                "it must return [rows, width], padded by -1"
            )
        known = np.array(self.ids)
        at = np.clip(np.searchsorted(known, ids), 0, len(known) - 1)
        positions = np.where(known[at] == ids, at, OUTSIDE)
        stated = None
        if accepted is not None:
            stated = as_integers(accepted, "accepted lengths").reshape(-1)
        return Reading(tokens=np.where(ids == END, END, positions), accepted=stated)

    def run(
        self,
        kernel: Kernel,
        rows: np.ndarray,
        uniforms: np.ndarray | None = None,
        generator: torch.Generator | None = None,
    ) -> Reading:
        """Call a kernel on rows, in as many calls as memory or the kernel needs.

        Raises:
            KernelError: It raised, or returned what no kernel may return.
        """
        wide = (2 * self.places + 2) * self.vocabulary
        most = 1 if self.facts.one_row else max(1, ELEMENTS // wide)
        readings = []
        for first in range(0, len(rows), most):
            part = slice(first, first + most)
            coins = None if uniforms is None else uniforms[part]
            call = self.call(rows[part], coins, generator)
            readings.append(self.read(called(kernel, call), len(rows[part])))
        return joined(readings)


def as_integers(values: Any, what: str) -> np.ndarray:
    """A tensor, an array or lists of integers as an array of int64.

    Raises:
        KernelError: They are no integers.
    """
    if values is None:
        raise KernelError(f"the kernel returned None for its {what}; is a `return` missing?")
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise KernelError(f"the kernel returned {what} that are no rectangular table") from error
    if array.dtype.kind not in "iu":
        raise KernelError(f"the kernel returned {what} of dtype {array.dtype}, not integers")
    return array.astype(np.int64)


def called(kernel: Kernel, call: Call) -> Any:
    """What a kernel returns; whatever it raises becomes a `KernelError`."""
    try:
        return kernel(call)
    except Exception as error:
        rows = call.target_probabilities.shape[0]
        shown = f"{type(error).__name__}: {error}".splitlines()[0]
        raise KernelError(
            f"the kernel raised on {rows} row{'s' * (rows != 1)} with laws over "
            f"{call.target_probabilities.shape[-1]} ids: {shown}{_raised_at(error)}"
        ) from error


def _raised_at(error: Exception) -> str:
    """The innermost line of somebody's own code; how a kernel is called, if it never began."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    if not frames:
        return "; a kernel takes one argument, the call (`draftproof docs kernels`)"
    own = [frame for frame in frames if "site-packages" not in Path(frame.filename).parts]
    frame = (own or frames)[-1]
    return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"


def joined(readings: Sequence[Reading]) -> Reading:
    """Readings one after another, padded to one width."""
    if len(readings) == 1:
        return readings[0]
    width = max(reading.tokens.shape[1] for reading in readings)
    tokens = [
        np.pad(reading.tokens, ((0, 0), (0, width - reading.tokens.shape[1])), constant_values=END)
        for reading in readings
    ]
    stated = [reading.accepted for reading in readings]
    accepted = None
    if all(part is not None for part in stated):
        accepted = np.concatenate([part for part in stated if part is not None])
    return Reading(tokens=np.concatenate(tokens), accepted=accepted)


def malformed(reading: Reading, table: DraftTable, row: int) -> str | None:
    """What is wrong with the form of a row, whatever its law; None if nothing is."""
    tokens = reading.tokens[row]
    count = int((tokens != END).sum())
    if count == 0:
        return "no token was emitted"
    if (tokens[:count] == END).any():
        return "a -1 stands between emitted tokens"
    if count > table.depth + 1:
        return f"{count} tokens were emitted for a draft of depth {table.depth}"
    kept = tuple(int(token) for token in tokens[: count - 1])
    if (tokens[: count - 1] >= 0).all() and kept not in paths(table):
        return f"the kept tokens {named(table, kept)} are no path of the draft"
    if reading.accepted is not None and int(reading.accepted[row]) != count - 1:
        stated = int(reading.accepted[row])
        return (
            f"{stated} tokens are said to be accepted, and {count - 1} were emitted before the "
            "extra one"
        )
    return None


def paths(table: DraftTable) -> set[tuple[int, ...]]:
    """Every path of a draft from the root, as tokens; the empty one too."""
    found: list[tuple[int, ...]] = []
    parents = table.parents or ()
    for node, token in enumerate(table.tokens):
        before = found[parents[node]] if depths(parents)[node] > 1 else ()
        found.append((*before, token))
    return {(), *found}


def named(table: DraftTable, emission: Sequence[int]) -> tuple[int | str, ...]:
    """An emission in token ids."""
    return tuple(table.ids[t] if 0 <= t < len(table.ids) else "unknown id" for t in emission)
