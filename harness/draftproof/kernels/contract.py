"""What a kernel is given and what it returns: the calls, and what is declared of a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import torch

from draftproof.errors import UsageError, unknown_value
from draftproof.laws import ProposalLaw

END = -1
"""What fills a row of emitted tokens after its last token."""


class Shape(StrEnum):
    """What a kernel verifies."""

    CHAIN = "chain"
    TREE = "tree"


class RandomSource(StrEnum):
    """Where a kernel's chance comes from, which says how deeply it can be examined."""

    UNIFORMS = "uniforms"
    """It is given uniforms in [0, 1): its law is computed."""
    GENERATOR = "generator"
    """It draws from the generator that it is given: its law is tested, its draws are counted."""
    OWN = "own"
    """It draws from wherever it likes: its law is tested."""


RULES: dict[Shape, dict[str, ProposalLaw]] = {
    Shape.CHAIN: {
        "rejection": ProposalLaw.INDEPENDENT,
        "point-mass": ProposalLaw.DETERMINISTIC,
        "block": ProposalLaw.INDEPENDENT,
        "any": ProposalLaw.INDEPENDENT,
    },
    Shape.TREE: {
        "multi-round": ProposalLaw.INDEPENDENT,
        "without-replacement": ProposalLaw.WITHOUT_REPLACEMENT,
        "point-mass": ProposalLaw.DETERMINISTIC,
        "any": ProposalLaw.INDEPENDENT,
    },
}
"""Rules by shape, and the proposal law of the drafts that each is given unless another is declared.

Under ``any`` only the emitted tokens are judged: whatever is lossless passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCall:
    """The arguments of a batched chain sampler.

    Attributes:
        draft_tokens: ``[rows, places]`` int64 drafted ids; beyond a row's length, padding.
        draft_lengths: ``[rows]`` int64 drafted tokens of each row, 0 … places.
        draft_probabilities: ``[rows, places, vocabulary]`` the law that each drafted token was
            drawn from; None where drafts are deterministic.
        target_probabilities: ``[rows, places + 1, vocabulary]`` the target's law before each
            drafted token, and after the last one at index `draft_lengths`.
        greedy: ``[rows]`` bool, the rows at temperature 0. Their laws are one-hot unless the kernel
            is declared to take greedy rows, which are then soft and to be read by their argmax.
        uniforms: ``[rows, coins]`` in [0, 1), or None.
        generator: To be drawn from, or None.
    """

    draft_tokens: torch.Tensor
    draft_lengths: torch.Tensor
    draft_probabilities: torch.Tensor | None
    target_probabilities: torch.Tensor
    greedy: torch.Tensor
    uniforms: torch.Tensor | None = None
    generator: torch.Generator | None = None

    @property
    def places(self) -> int:
        """Drafted tokens of the longest row that fits."""
        return int(self.draft_tokens.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeCall:
    """The arguments of a batched tree verifier.

    Attributes:
        tokens: ``[rows, nodes]`` int64 drafted ids, parents before children, siblings in the order
            in which they were proposed.
        parents: ``[rows, nodes]`` int64 index of each node's parent; −1 for children of the root.
        draft_probabilities: ``[rows, nodes + 1, vocabulary]`` the law that the children of the root
            (index 0) and of node i (index i + 1) were drawn from; without replacement, that of the
            first one. None where drafts are deterministic.
        target_probabilities: ``[rows, nodes + 1, vocabulary]`` the target's law after the root and
            after each node.
        uniforms: ``[rows, coins]`` in [0, 1), or None.
        generator: To be drawn from, or None.
    """

    tokens: torch.Tensor
    parents: torch.Tensor
    draft_probabilities: torch.Tensor | None
    target_probabilities: torch.Tensor
    uniforms: torch.Tensor | None = None
    generator: torch.Generator | None = None

    def first_children(self) -> torch.Tensor:
        """``[rows, nodes + 1]`` index + 1 of the root's and of each node's first child, or −1."""
        rows, nodes = self.parents.shape
        first = torch.full((rows, nodes + 1), -1, dtype=torch.int64, device=self.parents.device)
        for node in reversed(range(nodes)):
            first.scatter_(1, self.parents[:, node : node + 1] + 1, node + 1)
        return first

    def next_siblings(self) -> torch.Tensor:
        """``[rows, nodes + 1]`` index + 1 of each node's next sibling, or −1; the root has none."""
        rows, nodes = self.parents.shape
        following = torch.full((rows, nodes + 1), -1, dtype=torch.int64, device=self.parents.device)
        for node in range(nodes):
            for later in reversed(range(node + 1, nodes)):
                same = self.parents[:, later] == self.parents[:, node]
                following[same, node + 1] = later + 1
        return following

    def paths(self) -> torch.Tensor:
        """``[rows, leaves, depth + 1]`` retrieve indices: 0 for the root, node + 1, padded by −1.

        Rows with fewer leaves than others end in paths of −1 alone.
        """
        trees = [tuple(row) for row in self.parents.tolist()]
        routes = {tree: _routes(tree) for tree in set(trees)}
        leaves = max(len(found) for found in routes.values())
        depth = max(len(route) for found in routes.values() for route in found)
        tables = {}
        for tree, found in routes.items():
            padded = [route + [-1] * (depth - len(route)) for route in found]
            tables[tree] = padded + [[-1] * depth] * (leaves - len(found))
        return torch.tensor([tables[tree] for tree in trees], device=self.parents.device)


def _routes(parents: tuple[int, ...]) -> list[list[int]]:
    """The path to each leaf: 0 for the root, node + 1."""
    routes: list[list[int]] = []
    for leaf in (node for node in range(len(parents)) if node not in parents):
        route, node = [], leaf
        while node >= 0:
            route.append(node + 1)
            node = parents[node]
        routes.append([0, *reversed(route)])
    return routes or [[0]]


Call = ChainCall | TreeCall


class Kernel(Protocol):
    """A verification function, or a tiny callable that hands it its arguments."""

    def __call__(self, call: Any, /) -> Any:
        """The emitted tokens.

        Args:
            call: A `ChainCall` or a `TreeCall`.

        Returns:
            ``[rows, width]`` integers: each row's kept drafted tokens and its extra token, then
            −1. Or a pair of that and ``[rows]`` accepted lengths, which are then checked, too.
        """
        ...


def _one_more(places: int) -> int:
    return places + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """What is declared of a kernel.

    Attributes:
        shape: What it verifies.
        rule: A key of `RULES` of the shape; its law given the draft is judged, unless ``any``.
        randomness: Where its chance comes from.
        proposals: How the drafts that it is given are proposed; that of the rule by default.
        coins: From the places of a chain, or the nodes of a tree, to the uniforms that a row
            takes.
        dtype: Of the probabilities and uniforms: float64, float32, bfloat16 or float16.
        device: Where tensors lie.
        padding_token: What stands beyond a row's drafted tokens.
        ragged: Whether rows may be of different lengths, or have different trees.
        level_order: Whether the nodes of a tree must stand level by level, siblings side by side.
        greedy_rows: Whether it takes soft laws of greedy rows, and their argmax by itself.
        one_row: Whether it takes one row a call only.
        changes_inputs: Whether it may write to its arguments.
    """

    shape: Shape = Shape.CHAIN
    rule: str = "rejection"
    randomness: RandomSource = RandomSource.UNIFORMS
    proposals: ProposalLaw = ProposalLaw.INDEPENDENT
    coins: Callable[[int], int] = _one_more
    dtype: str = "float32"
    device: str = "cpu"
    padding_token: int = 0
    ragged: bool = True
    level_order: bool = False
    greedy_rows: bool = False
    one_row: bool = False
    changes_inputs: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of the tensors."""
        found = getattr(torch, self.dtype)
        assert isinstance(found, torch.dtype)
        return found

    @property
    def deterministic(self) -> bool:
        """Whether drafts come without a law."""
        return self.proposals is ProposalLaw.DETERMINISTIC


DTYPES = ("float64", "float32", "bfloat16", "float16")

Function = TypeVar("Function", bound=Callable[..., Any])


def declared(kernel: Any, **changes: Any) -> KernelFacts:
    """What is declared of a kernel, with some of it changed.

    Args:
        kernel: May carry facts from `declare`.
        changes: Fields of `KernelFacts`; None leaves a field as it is.

    Raises:
        UsageError: A value is none of its kind.
    """
    known: KernelFacts = getattr(kernel, "kernel_facts", KernelFacts())
    given = {name: value for name, value in changes.items() if value is not None}
    for name, kind in (("shape", Shape), ("randomness", RandomSource), ("proposals", ProposalLaw)):
        if name in given:
            valid = [str(value) for value in kind]
            if given[name] not in valid:
                raise unknown_value(f"--{name}", given[name], valid)
            given[name] = kind(given[name])
    shape = given.get("shape", known.shape)
    if shape is not known.shape and "rule" not in given:
        given["rule"] = "rejection" if shape is Shape.CHAIN else "multi-round"
    rule = given.get("rule", known.rule)
    if rule not in RULES[shape]:
        raise unknown_value("--rule", rule, RULES[shape])
    if "proposals" not in given and (rule != known.rule or not hasattr(kernel, "kernel_facts")):
        given["proposals"] = RULES[shape][rule]
    if given.get("dtype", known.dtype) not in DTYPES:
        raise unknown_value("--dtype", given["dtype"], DTYPES)
    unknown = set(given) - set(KernelFacts.__dataclass_fields__)
    if unknown:
        raise UsageError(f"a kernel has no fact '{min(unknown)}'")
    return replace(known, **given)


def declare(**facts: Any) -> Callable[[Function], Function]:
    """A decorator that declares facts of a kernel; the command line and tests may change them.

    Args:
        facts: Fields of `KernelFacts`.

    Raises:
        UsageError: A value is none of its kind.

    Example:
        >>> @declare(rule="point-mass", randomness="generator")
        ... def kernel(call): ...
        >>> kernel.kernel_facts.deterministic
        True
    """

    def mark(function: Function) -> Function:
        function.kernel_facts = declared(object(), **facts)  # type: ignore[attr-defined]
        return function

    return mark
