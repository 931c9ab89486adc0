"""The forms of ``--spec-tree``: what a drafter proposes, read from a short text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from draftproof.choices import FORMS
from draftproof.errors import UsageError
from draftproof.laws import ProposalLaw

MAX_NODES = 4096
"""Drafts above this are refused: a step's attention mask and logits grow with it."""

_OPTION = "--spec-tree"


_KEEP = ("base", "sure", "entropy")
"""Names of the coefficients of `ChainShape.keep`."""
_USUAL_KEEP = (0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class ChainShape:
    """A chain of `length` sampled tokens (greedy ones at temperature 0).

    Attributes:
        length: Tokens in a chain.
        stop_below: End the chain before a token if the draft model's largest probability there is
            below this; decided before the token is drawn, so that nothing drawn is dropped.
        gain_below: End the chain before a token if the estimated chance that it is kept, with all
            tokens before it, is below this: where the expected gain falls below the cost.
        keep: The estimate of one token, σ(a + b·logit(m) + c·H), by the largest probability m and
            the entropy H of the draft model's distribution; see
            `draftproof.drafting.confidence.kept_chance`.
    """

    length: int
    stop_below: float = 0.0
    gain_below: float = 0.0
    keep: tuple[float, float, float] = _USUAL_KEEP

    law = ProposalLaw.INDEPENDENT
    is_chain = True

    @property
    def most_nodes(self) -> int:
        """Nodes of the largest draft."""
        return self.length

    @property
    def deepest(self) -> int:
        """Depth of the deepest draft: the most drafted tokens that a step can keep."""
        return self.length

    @property
    def is_fixed(self) -> bool:
        """Whether every draft has `most_nodes` nodes where both models have room for them."""
        return not (self.stop_below or self.gain_below)

    def __str__(self) -> str:
        stop = f",stop={self.stop_below:g}" if self.stop_below else ""
        gain = f",gain={self.gain_below:g}" if self.gain_below else ""
        names = zip(_KEEP, self.keep, _USUAL_KEEP, strict=True)
        keep = "".join(f",{name}={value:g}" for name, value, usual in names if value != usual)
        return f"chain:{self.length}{stop}{gain}{keep}"


@dataclass(frozen=True, slots=True)
class KAryShape:
    """The `branching` most probable tokens after every node, down to `depth`."""

    depth: int
    branching: int

    law = ProposalLaw.DETERMINISTIC

    @property
    def is_chain(self) -> bool:
        return self.branching == 1

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Sibling ranks from depth 1 to each node, level by level."""
        levels: list[list[tuple[int, ...]]] = [[()]]
        for _ in range(self.depth):
            levels.append([(*path, rank) for path in levels[-1] for rank in range(self.branching)])
        return tuple(path for level in levels[1:] for path in level)

    @property
    def most_nodes(self) -> int:
        return _full_tree(self.depth, self.branching)

    @property
    def deepest(self) -> int:
        return self.depth

    is_fixed = True

    def __str__(self) -> str:
        return f"{self.depth}x{self.branching}"


@dataclass(frozen=True, slots=True)
class StaticShape:
    """A fixed tree: each node is the path of sibling ranks that leads to it.

    ``((0,), (1,), (0, 0))`` proposes the two most probable tokens, and after the first of them the
    most probable one.
    """

    paths: tuple[tuple[int, ...], ...]

    law = ProposalLaw.DETERMINISTIC

    @property
    def is_chain(self) -> bool:
        return all(set(path) == {0} for path in self.paths)

    @property
    def most_nodes(self) -> int:
        return len(self.paths)

    @property
    def deepest(self) -> int:
        return max(map(len, self.paths))

    is_fixed = True

    def __str__(self) -> str:
        return "static:" + json.dumps(self.paths, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class SampledShape:
    """`branching` tokens drawn after every node, down to `depth`.

    Attributes:
        depth: Levels.
        branching: Siblings after each node.
        distinct: Whether siblings are drawn without replacement.
    """

    depth: int
    branching: int
    distinct: bool

    @property
    def law(self) -> ProposalLaw:
        return ProposalLaw.WITHOUT_REPLACEMENT if self.distinct else ProposalLaw.INDEPENDENT

    @property
    def is_chain(self) -> bool:
        return self.branching == 1

    @property
    def most_nodes(self) -> int:
        return _full_tree(self.depth, self.branching)

    @property
    def deepest(self) -> int:
        return self.depth

    @property
    def is_fixed(self) -> bool:
        return not self.distinct  # a law may hold fewer tokens than siblings are to be drawn

    def __str__(self) -> str:
        return f"{'distinct' if self.distinct else 'sampled'}:{self.depth}x{self.branching}"


@dataclass(frozen=True, slots=True)
class BestFirstShape:
    """The `nodes` most probable nodes of a tree that grows where the draft model is surest.

    Attributes:
        nodes: Node budget of a draft.
        depth: Levels at most.
        branching: Nodes expanded a level, and siblings considered after each.
    """

    nodes: int
    depth: int = 6
    branching: int = 4

    law = ProposalLaw.DETERMINISTIC

    @property
    def is_chain(self) -> bool:
        return self.branching == 1 or self.nodes == 1

    @property
    def most_nodes(self) -> int:
        return self.nodes

    @property
    def deepest(self) -> int:
        return self.depth

    @property
    def is_fixed(self) -> bool:
        return self.nodes <= self.branching + (self.depth - 1) * self.branching**2

    def __str__(self) -> str:
        return f"best-first:{self.nodes},depth={self.depth},branching={self.branching}"


@dataclass(frozen=True, slots=True)
class LookupShape:
    """The tokens that followed the last tokens' latest earlier occurrence; no draft model.

    Attributes:
        length: Tokens proposed at most; with 0 every step is one of plain decoding.
        ngram: Longest run of last tokens that is looked up.
    """

    length: int
    ngram: int = 3

    law = ProposalLaw.DETERMINISTIC
    is_chain = True

    @property
    def most_nodes(self) -> int:
        return self.length

    @property
    def deepest(self) -> int:
        return self.length

    is_fixed = False

    def __str__(self) -> str:
        return f"lookup:{self.length},ngram={self.ngram}" if self.length else "none"


NO_TREE = LookupShape(0)
"""The shape of no draft at all."""

TreeShape = ChainShape | KAryShape | StaticShape | SampledShape | BestFirstShape | LookupShape


def _full_tree(depth: int, branching: int) -> int:
    return sum(branching**level for level in range(1, depth + 1))


def parse_tree(text: str, option: str = _OPTION) -> TreeShape:
    """The shape of the drafts that a text names.

    Args:
        text: In one of `draftproof.choices.FORMS`.
        option: Where it was given, for messages.

    Raises:
        UsageError: The text has none of the forms, or the shape has no node or too many.

    Example:
        >>> parse_tree("3x2")
        KAryShape(depth=3, branching=2)
        >>> str(parse_tree("chain:5"))
        'chain:5'
    """
    try:
        return _parsed(text.strip())
    except UsageError as error:
        raise UsageError(str(error).replace(_OPTION, option, 1)) from error


def _parsed(text: str) -> TreeShape:
    if match := re.fullmatch(r"(\d+)\s*x\s*(\d+)", text):
        return KAryShape(*_levels(text, match))
    if text == str(NO_TREE):
        return NO_TREE
    kind, colon, rest = text.partition(":")
    if colon and kind in _PARSERS:
        return _PARSERS[kind](text, rest)
    raise UsageError(f"{_OPTION}: cannot read '{text}'; give one of: {', '.join(FORMS)}")


def _chain(text: str, rest: str) -> ChainShape:
    types: dict[str, type[int] | type[float]] = dict.fromkeys(("stop", "gain", *_KEEP), float)
    length, options = _head_and_options(text, rest, types)
    stop, gain = options.get("stop", 0.0), options.get("gain", 0.0)
    for name, value in (("stop", stop), ("gain", gain)):
        if not 0 <= value <= 1:
            raise UsageError(f"{_OPTION}: '{text}': {name} is a probability, 0 to 1")
    base, sure, entropy = (
        float(options.get(name, usual)) for name, usual in zip(_KEEP, _USUAL_KEEP, strict=True)
    )
    if not gain and (base, sure, entropy) != _USUAL_KEEP:
        raise UsageError(f"{_OPTION}: '{text}': {', '.join(_KEEP)} do nothing without gain=NUMBER")
    return ChainShape(
        _positive(text, "length", length, MAX_NODES), stop, gain, (base, sure, entropy)
    )


def _sampled(text: str, rest: str) -> SampledShape:
    match = re.fullmatch(r"(\d+)\s*x\s*(\d+)", rest)
    if not match:
        raise UsageError(f"{_OPTION}: cannot read '{text}'; give for example sampled:3x2")
    return SampledShape(*_levels(text, match), distinct=text.startswith("distinct"))


def _static(text: str, rest: str) -> StaticShape:
    source = rest
    if not rest.lstrip().startswith("["):
        try:
            source = Path(rest).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{_OPTION}: cannot read {rest}: {error.strerror}") from error
    try:
        paths = [tuple(path) for path in json.loads(source)]
    except (json.JSONDecodeError, TypeError) as error:
        raise UsageError(
            f"{_OPTION}: '{text}' is not a JSON list of paths such as [[0],[1],[0,0]]"
        ) from error
    return StaticShape(_checked_paths(text, paths))


def _checked_paths(text: str, paths: list[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """The paths level by level, siblings by rank."""
    known = set(paths)
    for path in paths:
        if not path or not all(type(rank) is int and rank >= 0 for rank in path):
            raise UsageError(
                f"{_OPTION}: '{text}': {list(path)} is not a path of ranks from 0 upwards"
            )
        if len(path) > 1 and path[:-1] not in known:
            raise UsageError(f"{_OPTION}: '{text}': {list(path)} has no parent {list(path[:-1])}")
        if path[-1] > 0 and (*path[:-1], path[-1] - 1) not in known:
            raise UsageError(
                f"{_OPTION}: '{text}': {list(path)} is listed without its sibling of rank "
                f"{path[-1] - 1}"
            )
    if len(known) != len(paths):
        raise UsageError(f"{_OPTION}: '{text}' lists a path twice")
    if not 1 <= len(paths) <= MAX_NODES:
        raise UsageError(f"{_OPTION}: '{text}' has {len(paths)} nodes; give 1 to {MAX_NODES}")
    return tuple(sorted(paths, key=lambda path: (len(path), path)))


def _best_first(text: str, rest: str) -> BestFirstShape:
    nodes, options = _head_and_options(text, rest, {"depth": int, "branching": int})
    return BestFirstShape(
        _positive(text, "the node budget", nodes, MAX_NODES),
        _positive(text, "depth", options.get("depth", 6), MAX_NODES),
        _positive(text, "branching", options.get("branching", 4), 64),
    )


def _lookup(text: str, rest: str) -> LookupShape:
    length, options = _head_and_options(text, rest, {"ngram": int})
    return LookupShape(
        _positive(text, "length", length, MAX_NODES),
        _positive(text, "ngram", options.get("ngram", 3), 64),
    )


_PARSERS: dict[str, Callable[[str, str], TreeShape]] = {
    "chain": _chain,
    "sampled": _sampled,
    "distinct": _sampled,
    "static": _static,
    "best-first": _best_first,
    "lookup": _lookup,
}


def _head_and_options(
    text: str, rest: str, types: dict[str, type[int] | type[float]]
) -> tuple[int, dict[str, int | float]]:
    """A number, and ``name=value`` options after it."""
    head, *pairs = rest.split(",")
    options: dict[str, int | float] = {}
    try:
        for pair in pairs:
            name, _, value = pair.partition("=")
            options[name] = types[name](value)
            if not math.isfinite(options[name]):
                raise ValueError(f"{name} is not finite")
        return int(head), options
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"{_OPTION}: cannot read '{text}'; options are: "
            + ", ".join(f"{name}=NUMBER" for name in types)
        ) from error


def _positive(text: str, what: str, value: int | float, largest: int) -> int:
    if not 1 <= value <= largest:
        raise UsageError(f"{_OPTION}: '{text}': {what} is 1 to {largest}")
    return int(value)


def _levels(text: str, match: re.Match[str]) -> tuple[int, int]:
    """Depth and branching of a full tree that is not too large."""
    depth, branching = int(match[1]), int(match[2])
    if depth < 1 or branching < 1:
        raise UsageError(f"{_OPTION}: '{text}' has no node; depth and branching are at least 1")
    nodes, level = 0, 1
    for _ in range(min(depth, MAX_NODES + 1)):
        level *= branching
        nodes += level
        if nodes > MAX_NODES:
            raise UsageError(f"{_OPTION}: '{text}' has more than {MAX_NODES} nodes a step")
    return depth, branching
