"""What a run is: every setting that can move a number, frozen and checked when it is made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from harness.errors import UsageError, unknown_value

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
DEVICES = ("auto", "cuda", "mps", "cpu")
PROMPT_SOURCES = ("builtin", "real")
RULES = ("auto", "greedy", "rejection", "point-mass")
BUILTIN = "builtin"
"""The name of the pair that comes with draftproof, for ``--spec-target`` and ``--spec-draft``."""


def _require(condition: bool, option: str, problem: str) -> None:
    if not condition:
        raise UsageError(f"{option}: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How logits become the distribution that tokens are drawn from, in both ways of decoding.

    Attributes:
        temperature: 0 is greedy decoding; otherwise logits are divided by it.
    """

    temperature: float = 0.0

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.temperature) and self.temperature >= 0,
            "--spec-temperature",
            f"{self.temperature} is not a temperature; give 0 (greedy) or a positive number",
        )

    @property
    def greedy(self) -> bool:
        """Whether every distribution is one-hot, so that no draw is random."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class ChainShape:
    """A chain of `length` sampled tokens (greedy ones at temperature 0)."""

    length: int

    def __str__(self) -> str:
        return f"chain:{self.length}"

    @property
    def depth(self) -> int:
        return self.length


@dataclass(frozen=True, slots=True)
class KAryShape:
    """The `branching` most probable tokens after every node, down to `depth`."""

    depth: int
    branching: int

    def __str__(self) -> str:
        return f"{self.depth}x{self.branching}"


TreeShape = ChainShape | KAryShape

TREE_FORMS = "DEPTHxBRANCHING (3x2) or chain:LENGTH (chain:5)"
MAX_NODES = 4096
"""Drafts above this are refused: a step's attention mask and logits grow with it."""


def parse_tree(text: str) -> TreeShape:
    """The shape of the drafts that ``--spec-tree`` names.

    Raises:
        UsageError: The text has none of the forms, or the shape has no node or too many.

    Example:
        >>> parse_tree("3x2")
        KAryShape(depth=3, branching=2)
        >>> str(parse_tree("chain:5"))
        'chain:5'
    """
    if match := re.fullmatch(r"(\d+)\s*x\s*(\d+)", text.strip()):
        depth, branching = int(match[1]), int(match[2])
        _require(
            depth >= 1 and branching >= 1,
            "--spec-tree",
            f"'{text}' has no node; depth and branching are at least 1",
        )
        nodes = depth if branching == 1 else _k_ary_nodes(depth, branching)
        _require(
            nodes <= MAX_NODES, "--spec-tree", f"'{text}' has more than {MAX_NODES} nodes a step"
        )
        return KAryShape(depth, branching)
    if match := re.fullmatch(r"chain:(\d+)", text.strip()):
        length = int(match[1])
        _require(
            1 <= length <= MAX_NODES,
            "--spec-tree",
            f"'{text}': a chain has 1 to {MAX_NODES} tokens",
        )
        return ChainShape(length)
    raise UsageError(f"--spec-tree: cannot read '{text}'; give {TREE_FORMS}")


def _k_ary_nodes(depth: int, branching: int) -> int:
    nodes, level = 0, 1
    for _ in range(depth):
        level *= branching
        nodes += level
        if nodes > MAX_NODES:
            break
    return nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The settings of a run.

    Attributes:
        target: ``builtin``, a local folder, a hub id or a ``.gguf`` file.
        draft: The same for the draft model.
        dtype: Weights' type; ``auto`` is float32 on a CPU for the built-in pair, else the
            checkpoint's own.
        device: ``auto`` takes cuda, mps or cpu, the first that is there.
        tree: Shape of the drafts.
        rule: Name of the acceptance rule; ``auto`` is greedy at temperature 0 and otherwise the
            lossless rule for the drafter's proposal law.
        sampling: How tokens are drawn.
        max_new_tokens: Length limit of an output, in tokens.
        seed: Seeds prompt sampling and every draw.
        limit: Prompts a domain, None for all.
        prompts: ``builtin`` or ``real``.
        data_dir: Folder with the real data sets, None for the hub.
        check_state: Compare cached state with a recompute at every step (slow).
    """

    target: str = BUILTIN
    draft: str = BUILTIN
    dtype: str = "auto"
    device: str = "auto"
    tree: TreeShape = field(default_factory=lambda: KAryShape(3, 2))
    rule: str = "auto"
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 64
    seed: int = 0
    limit: int | None = 50
    prompts: str = BUILTIN
    data_dir: str | None = None
    check_state: bool = False

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("--spec-dtype", self.dtype, DTYPES),
            ("--spec-device", self.device, DEVICES),
            ("--spec-prompts", self.prompts, PROMPT_SOURCES),
            ("--spec-rule", self.rule, RULES),
        ):
            if value not in choices:
                raise unknown_value(option, value, choices)
        _require(
            self.max_new_tokens >= 1,
            "--spec-max-new-tokens",
            f"{self.max_new_tokens} leaves nothing to decode; give at least 1",
        )
        _require(
            self.limit is None or self.limit >= 1,
            "--spec-limit",
            f"{self.limit} leaves no prompts; give at least 1, or 'all'",
        )
        _require(self.seed >= 0, "--spec-seed", f"{self.seed} is negative; give 0 or more")
        if self.rule == "greedy":
            _require(
                self.sampling.greedy,
                "--spec-rule greedy",
                "is lossless at temperature 0 only; use --spec-rule auto above it",
            )
        if self.rule == "rejection":
            _require(
                isinstance(self.tree, ChainShape),
                "--spec-rule rejection",
                f"needs a sampled chain, not {self.tree}; use --spec-tree chain:N, or --spec-rule "
                "auto",
            )
        if self.rule == "point-mass" and isinstance(self.tree, ChainShape):
            _require(
                self.sampling.greedy,
                "--spec-rule point-mass",
                "needs a deterministic draft, and a chain is sampled; use --spec-rule rejection",
            )
        if self.data_dir is not None:
            _require(
                self.prompts == "real",
                "--spec-data",
                "holds real data sets, which only --spec-prompts real reads; add it",
            )
            _require(
                Path(self.data_dir).is_dir(), "--spec-data", f"'{self.data_dir}' is not a folder"
            )

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values, `from_json`'s inverse."""
        return {**dataclasses.asdict(self), "tree": str(self.tree)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The settings from plain values.

        Raises:
            UsageError: A key is unknown, or a value is not valid.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise unknown_value("configuration key", key, known)
        values = dict(values)
        if "tree" in values:
            values["tree"] = parse_tree(values["tree"])
        if "sampling" in values:
            values["sampling"] = Sampling(**values["sampling"])
        return cls(**values)

    def fingerprint(self) -> str:
        """A hash that two runs share exactly when all their settings are the same.

        `data_dir` is left out: the same prompts may lie in another folder.
        """
        settings = {key: value for key, value in self.to_json().items() if key != "data_dir"}
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


PRESETS: dict[str, dict[str, Any]] = {
    "acceptance-dynamics": {"tree": "3x2", "limit": 50, "temperature": 0.0},
}
"""Settings of published studies, by name; an option given beside a preset wins over it."""
