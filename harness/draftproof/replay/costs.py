"""What a step costs: milliseconds of forward passes by tokens scored and context length.

Measured by `draftproof record`, or given by hand for a machine that is not here. The file is JSON,
in milliseconds, so that people can read and write it::

    {"target": {"1": 25.0, "8": 26.5, "32": 31.0},
     "drafts": {"small": {"1": 3.0, "8": 3.2}}}

Each width may also have a table by context length, ``{"contexts": {"128": {"1": …}, "1024": …}}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from draftproof.errors import UsageError

COSTS_FILE = "costs.json"
WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Tokens scored in one forward pass, of those that are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardCosts:
    """Milliseconds of one model's forward passes.

    Attributes:
        widths: ``[w]`` ascending, tokens scored in one pass; the first is 1.
        contexts: ``[c]`` ascending, tokens that are attended to beside them.
        milliseconds: ``[c, w]``, not falling with either.
        noise: Half the interquartile range of repeated measurements ÷ their median, the median over
            the table; NaN of costs given by hand.
    """

    widths: tuple[int, ...]
    contexts: tuple[int, ...]
    milliseconds: np.ndarray
    noise: float = math.nan

    def of(self, width: np.ndarray | int, context: np.ndarray | float) -> np.ndarray:
        """Milliseconds of passes over `width` tokens after `context` ones, broadcast together.

        Linear between widths and contexts that were measured, and constant outside the contexts.

        Raises:
            UsageError: A width is larger than the table's largest.
        """
        width, context = np.broadcast_arrays(np.asarray(width, float), np.asarray(context, float))
        if width.size and width.max() > self.widths[-1]:
            raise UsageError(
                f"the costs have no forward pass over {width.max():.0f} tokens, only up to "
                f"{self.widths[-1]}; give a wider one in the costs file, or ask for smaller trees"
            )
        by_context = np.stack([np.interp(width, self.widths, row) for row in self.milliseconds])
        if len(self.contexts) == 1:
            return np.asarray(by_context[0])
        place = np.interp(context, self.contexts, np.arange(len(self.contexts)))
        low = np.minimum(place.astype(int), len(self.contexts) - 2)
        below, above = (
            np.take_along_axis(by_context, index[None], 0)[0] for index in (low, low + 1)
        )
        return np.asarray(below + (place - low) * (above - below))

    @classmethod
    def monotone(
        cls,
        widths: tuple[int, ...],
        contexts: tuple[int, ...],
        measured: np.ndarray,
        noise: float,
    ) -> Self:
        """From medians ``[c, w]``, made not to fall with the width or the context.

        More tokens or a longer context are never less work, so a fall is noise: equal-weight
        isotonic regression along widths and then along contexts takes it out. Faster kernels
        for some widths (blocks of 8, say) are flattened by this too.

        Source:
            Barlow et al. 1972 (pool adjacent violators), as `scipy.optimize.isotonic_regression`.
        """
        from scipy.optimize import isotonic_regression  # takes half a second to import

        rows = np.array([isotonic_regression(row).x for row in measured])
        columns = np.array([isotonic_regression(column).x for column in rows.T]).T
        return cls(widths=widths, contexts=contexts, milliseconds=columns, noise=noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Everything that a speedup is computed from.

    Attributes:
        target: Forward passes of the target.
        drafts: Of each draft model, by name.
        step_ms: What a step takes beside forward passes: rule, commit, and the like.
        level_ms: What each forward pass of a draft model takes beside itself.
        node_ms: What each drafted token takes beside forward passes.
        plain_ms: What a token of plain decoding takes beside the target's forward pass.
        target_prompt: Milliseconds of the target's prefill: of any prompt, and of each token.
        draft_prompts: Likewise of each draft model.
        device: What was measured on, or ``by hand``.
        versions: Of the libraries that were measured.
    """

    target: ForwardCosts
    drafts: Mapping[str, ForwardCosts]
    step_ms: float = 0.0
    level_ms: float = 0.0
    node_ms: float = 0.0
    plain_ms: float = 0.0
    target_prompt: tuple[float, float] = (0.0, 0.0)
    draft_prompts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    device: str = "by hand"
    versions: Mapping[str, str] = field(default_factory=dict)

    def of_draft(self, name: str) -> ForwardCosts:
        """The forward passes of a draft model.

        Raises:
            UsageError: Its costs are not known.
        """
        if name not in self.drafts:
            known = ", ".join(self.drafts) or "none"
            raise UsageError(
                f"the costs have no draft model '{name}' (they have: {known}); measure it with "
                "`draftproof record`, or add it to the file of --costs"
            )
        return self.drafts[name]

    def plain(self, context: np.ndarray | float) -> np.ndarray:
        """Milliseconds of a token of plain decoding."""
        return self.target.of(1, context) + self.plain_ms

    def prompt(self, tokens: np.ndarray, draft: str | None) -> np.ndarray:
        """Milliseconds of the prefill, of the target and of a draft model beside it."""
        parts = [self.target_prompt]
        if draft is not None:
            parts.append(self.draft_prompts.get(draft, (0.0, 0.0)))
        return np.asarray(sum(fixed + each * tokens for fixed, each in parts))

    def cost_ratio(self, draft: str, context: float) -> float:
        """A draft model's forward pass over one token ÷ the target's."""
        return float(self.of_draft(draft).of(1, context) / self.target.of(1, context))

    def scaled(self, draft_factor: float) -> CostModel:
        """The same with every draft model's passes so many times as dear."""
        drafts = {
            name: ForwardCosts(
                widths=costs.widths,
                contexts=costs.contexts,
                milliseconds=costs.milliseconds * draft_factor,
                noise=costs.noise,
            )
            for name, costs in self.drafts.items()
        }
        values = {name: getattr(self, name) for name in _OTHER_FIELDS}
        return CostModel(target=self.target, drafts=drafts, **values)

    def lines(self) -> list[str]:
        """The costs as text, a model a line."""
        named = {"target": self.target, **self.drafts}
        shown = []
        for name, costs in named.items():
            widths = [width for width in (1, 4, 16, 64) if width <= costs.widths[-1]]
            middle = costs.contexts[len(costs.contexts) // 2]
            values = ", ".join(f"{float(costs.of(w, middle)):.2f} ms at {w}" for w in widths)
            noise = "" if math.isnan(costs.noise) else f"; noise {costs.noise:.1%}"
            shown.append(f"  {name}: {values} tokens after {middle}{noise}")
        shown.append(
            f"  beside forward passes: {self.step_ms:.2f} ms a step, {self.level_ms:.2f} ms a "
            f"pass of the draft model, {self.node_ms:.2f} ms a drafted token, {self.plain_ms:.2f} "
            "ms a token of plain decoding"
        )
        return shown

    def save(self, path: Path) -> None:
        """Write the costs as JSON that people can read.

        Raises:
            UsageError: The file cannot be written.
        """
        try:
            path.write_text(json.dumps(self.to_json(), indent=1) + "\n", "utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error

    def to_json(self) -> dict[str, Any]:
        """The costs as JSON values; `from_json`'s inverse."""
        return {
            "unit": "milliseconds",
            "device": self.device,
            "target": _table_to_json(self.target),
            "drafts": {name: _table_to_json(costs) for name, costs in self.drafts.items()},
            "step": self.step_ms,
            "level": self.level_ms,
            "node": self.node_ms,
            "plain": self.plain_ms,
            "prompts": {
                "target": list(self.target_prompt),
                **{name: list(pair) for name, pair in self.draft_prompts.items()},
            },
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Self:
        """The costs from JSON values.

        Args:
            values: As `to_json` makes them; every key but ``target`` and ``drafts`` may be left
                out.
            where: The file, for messages.

        Raises:
            UsageError: A value is missing or none that a cost can have.
        """
        known = {*_JSON_KEYS}
        for key in values:
            if key not in known:
                raise UsageError(f"{where}: unknown key '{key}'; known: {', '.join(sorted(known))}")
        if values.get("unit", "milliseconds") != "milliseconds":
            raise UsageError(
                f"{where}: the unit is {values['unit']!r}; costs are given in milliseconds"
            )
        if not isinstance(values.get("versions", {}), Mapping):
            raise UsageError(f"{where}: 'versions' is a mapping of library to version")
        if "target" not in values or not isinstance(values.get("drafts"), Mapping):
            raise UsageError(
                f"{where}: costs need 'target' and 'drafts', each milliseconds by tokens scored, "
                'such as {"target": {"1": 25, "16": 27}, "drafts": {"NAME": {"1": 3}}}'
            )
        try:
            prompts = {k: (float(v[0]), float(v[1])) for k, v in values.get("prompts", {}).items()}
            others = {f"{name}_ms": float(values.get(name, 0.0)) for name in _BESIDE_PASSES}
            unknown = [name for name in prompts if name not in ("target", *values["drafts"])]
            if unknown:
                raise ValueError(f"{unknown[0]!r} is neither the target nor one of the drafts")
            given = [*others.values(), *(value for pair in prompts.values() for value in pair)]
            if not all(0 <= value < math.inf for value in given):
                raise ValueError("one of them is negative, or not a number")
        except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise UsageError(
                f"{where}: {', '.join(map(repr, _BESIDE_PASSES))} are milliseconds, and each of "
                f"'prompts' is a pair of them, of any prompt and of each token ({error})"
            ) from error
        device = values.get("device", "by hand")
        if not isinstance(device, str):
            raise UsageError(f"{where}: 'device' is {device!r}, and should be a name")
        return cls(
            target=_table_from_json(values["target"], f"{where}: target"),
            drafts={
                name: _table_from_json(table, f"{where}: {name}")
                for name, table in values["drafts"].items()
            },
            target_prompt=prompts.pop("target", (0.0, 0.0)),
            draft_prompts=prompts,
            device=device,
            versions=dict(values.get("versions", {})),
            **others,
        )


_BESIDE_PASSES = ("step", "level", "node", "plain")
_JSON_KEYS = (
    "unit",
    "device",
    "target",
    "drafts",
    "step",
    "level",
    "node",
    "plain",
    "prompts",
    "versions",
)
_OTHER_FIELDS = (
    "step_ms",
    "level_ms",
    "node_ms",
    "plain_ms",
    "target_prompt",
    "draft_prompts",
    "device",
    "versions",
)


def load_costs(path: Path) -> CostModel:
    """Costs from a file, measured or written by hand.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"there are no costs at {path} ({error.strerror}); `draftproof record` measures them, "
            "or give a file by hand with --costs FILE"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not an object of costs by model")
    return CostModel.from_json(values, str(path))


def _table_to_json(costs: ForwardCosts) -> dict[str, Any]:
    return {
        "noise": None if math.isnan(costs.noise) else round(costs.noise, 4),
        "contexts": {
            str(context): {
                str(width): round(float(value), 4)
                for width, value in zip(costs.widths, row, strict=True)
            }
            for context, row in zip(costs.contexts, costs.milliseconds, strict=True)
        },
    }


def _table_from_json(table: Any, where: str) -> ForwardCosts:
    """A table by context and width, or by width alone.

    Raises:
        UsageError: It is neither, lacks width 1, a value is not a positive number, or values fall
            where there is more to do.
    """
    try:
        noise = math.nan if table.get("noise") is None else float(table["noise"])
        by_context = table.get("contexts") or {
            "0": {width: value for width, value in table.items() if width != "noise"}
        }
        rows = {
            _count(context): dict(map(_cost, row.items())) for context, row in by_context.items()
        }
        again = len(rows) < len(by_context) or any(
            len(rows[_count(context)]) < len(row) for context, row in by_context.items()
        )
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f'{where}: give milliseconds by tokens scored, such as {{"1": 25, "16": 27}} ({error})'
        ) from error
    if "contexts" in table and (unknown := sorted(table.keys() - {"contexts", "noise"})):
        raise UsageError(
            f"{where}: beside 'contexts' there is {unknown[0]!r}; put every width into a context"
        )
    contexts = tuple(sorted(rows))
    widths = tuple(sorted(rows[contexts[0]])) if contexts else ()
    if again:
        raise UsageError(f"{where}: a width or a context is given twice")
    if not widths or widths[0] != 1 or any(set(row) != set(widths) for row in rows.values()):
        raise UsageError(
            f"{where}: every context needs the same widths, and the first of them is 1 token"
        )
    given = np.array([[rows[context][width] for width in widths] for context in contexts])
    if not np.isfinite(given).all() or not (given > 0).all():
        raise UsageError(f"{where}: a forward pass takes a positive number of milliseconds")
    for row, context in zip(given, contexts, strict=True):
        if (np.diff(row) < 0).any():
            at = int(np.argmax(np.diff(row) < 0))
            after = f" after {context} tokens" if len(contexts) > 1 else ""
            raise UsageError(
                f"{where}: {row[at]:g} ms for a width of {widths[at]} and {row[at + 1]:g} ms for "
                f"{widths[at + 1]}{after}: scoring more tokens never takes less; give the smaller "
                "one for both"
            )
    if (np.diff(given, axis=0) < 0).any():
        raise UsageError(f"{where}: a longer context never takes less; some widths fall with it")
    return ForwardCosts(widths=widths, contexts=contexts, milliseconds=given, noise=noise)


def _count(text: Any) -> int:
    """A number of tokens.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(text, str) or not text.isdecimal():
        raise ValueError(f"{text!r} is not a number of tokens")
    return int(text)


def _cost(item: tuple[Any, Any]) -> tuple[int, float]:
    """A width and its milliseconds.

    Raises:
        ValueError: One of them is no number.
    """
    width, value = item
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number of milliseconds")
    return _count(width), float(value)
