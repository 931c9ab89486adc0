"""Small changes of production source, made systematically: faults that nobody thought of."""

from __future__ import annotations

import ast
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

PACKAGE = Path(__file__).parent.parent

TARGETS = (
    "acceptance/*.py",
    "batch/*.py",
    "categorical.py",
    "decoding.py",
    "drafting/*.py",
    "engines/ahead.py",
    "engines/parts.py",
    "engines/reference.py",
    "engines/rows.py",
    "engines/sites.py",
    "models/slot_cache.py",
    "models/tree_cache.py",
    "randomness.py",
    "recording.py",
    "sampling.py",
    "stopping.py",
    "tree.py",
)
"""What is changed: decoding, acceptance, drafting, sampling, caches, stopping and recording."""

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
_CALLED = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "argmax": "argmin",
    "clamp_min": "clamp_max",
    "clamp_max": "clamp_min",
}


@dataclass(frozen=True, slots=True)
class SourceMutant:
    """One change of one file.

    Attributes:
        file: Relative to the package.
        index: Of the change among all that the file allows.
        line: Where it is, from 1.
        change: What is done, in a few words.
        code: The line, which says more than its number once others are written before it.
        statement: The first line of the statement that it is in, from 1.
    """

    file: str
    index: int
    line: int
    change: str
    code: str = ""
    statement: int = 0

    @property
    def name(self) -> str:
        """Names it on a command line: ``FILE:INDEX``."""
        return f"{self.file}:{self.index}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.change}"


def every_mutant(package: Path = PACKAGE) -> list[SourceMutant]:
    """All changes of all files, in order."""
    found = []
    for path in target_files(package):
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        file = path.relative_to(package).as_posix()
        sites = (
            (node, at, change)
            for node, at in _sites(ast.parse(source))
            for change in _variants(node)
        )
        for index, (node, statement, change) in enumerate(sites):
            line = getattr(node, "lineno", 0)
            code = lines[line - 1].strip() if line else ""
            found.append(SourceMutant(file, index, line, change, code, statement))
    return found


def target_files(package: Path = PACKAGE) -> list[Path]:
    """The files that are changed."""
    return sorted({path for pattern in TARGETS for path in package.glob(pattern)})


def sizes(mutants: Iterable[SourceMutant]) -> dict[str, int]:
    """How many changes each file allows."""
    return dict(Counter(mutant.file for mutant in mutants))


def sample(mutants: Iterable[SourceMutant], n: int, seed: int) -> list[SourceMutant]:
    """A seeded sample without replacement, stratified by file; all where there are no more.

    Each file's changes are put in a random order. One of every file comes first, the files in a
    random order; then files take turns in proportion to the square root of how many changes they
    have: so a small file is not left out, and a large one does not make up the sample. A sample of
    fewer is the beginning of a sample of more, of the same seed.
    """
    random = Random(seed)
    by_file: dict[str, list[SourceMutant]] = defaultdict(list)
    for mutant in mutants:
        by_file[mutant.file].append(mutant)
    ranked = []
    for _, found in sorted(by_file.items()):
        start = random.random()
        for rank, mutant in enumerate(random.sample(found, len(found))):
            turn = (rank + start) / math.sqrt(len(found)) if rank else start - 1
            ranked.append((turn, mutant.file, mutant))
    return [mutant for _, _, mutant in sorted(ranked, key=lambda entry: entry[:2])][:n]


def same_change(mutants: Iterable[SourceMutant], wanted: SourceMutant) -> SourceMutant | None:
    """The change that a source has now in the place of one that it had; None where it is gone.

    Of several on like lines, the one on the nearest.
    """
    like = [
        mutant
        for mutant in mutants
        if (mutant.file, mutant.change, mutant.code) == (wanted.file, wanted.change, wanted.code)
    ]
    return min(
        like,
        key=lambda mutant: (abs(mutant.line - wanted.line), abs(mutant.index - wanted.index)),
        default=None,
    )


def changes(source: str) -> list[tuple[int, str]]:
    """Every change of a source: its line, and what is done.

    Strings, annotations, decorators and whatever a `raise` says are left as they are.

    Example:
        >>> changes("a = b < 1")
        [(1, '< becomes <='), (1, '1 becomes 2')]
    """
    return [
        (getattr(node, "lineno", 0), change)
        for node, _ in _sites(ast.parse(source))
        for change in _variants(node)
    ]


def changed(source: str, index: int) -> str:
    """A source with one of its `changes`.

    Raises:
        IndexError: It has fewer.

    Example:
        >>> changed("a = b < 1", 0)
        'a = b <= 1'
    """
    tree = ast.parse(source)
    for node, _ in _sites(tree):
        variants = len(_variants(node))
        if index < variants:
            _apply(node, index)
            return ast.unparse(tree)
        index -= variants
    raise IndexError("there is no such change")


def source_of(name: str, package: Path = PACKAGE) -> tuple[Path, str]:
    """The file of a mutant, and its source with the change in it.

    Args:
        name: Of a `SourceMutant`.
        package: Where the file is.

    Raises:
        ValueError: There is no such mutant.
    """
    file, _, index = name.rpartition(":")
    path = package / file
    if not index.isdigit() or not path.is_file():
        raise ValueError(f"there is no mutant '{name}'; give FILE:INDEX")
    try:
        return path, changed(path.read_text(encoding="utf-8"), int(index))
    except IndexError as error:
        raise ValueError(f"{file} has no mutant {index}") from error


def _sites(node: ast.AST, statement: int = 0) -> Iterator[tuple[ast.AST, int]]:
    """Every node that may be changed, from the top down, with its statement's first line."""
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)):
        return
    if isinstance(node, ast.stmt):
        statement = node.lineno
    yield node, statement
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _sites(child, statement)


def _variants(node: ast.AST) -> list[str]:
    """What can be done to a node."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARED:
            return [f"{_sign(op)} becomes {_sign(_COMPARED[type(op)]())}"]
        case ast.BinOp(op=op) if type(op) in _OPERATED:
            return [f"{_sign(op)} becomes {_sign(_OPERATED[type(op)]())}"]
        case ast.BoolOp(op=op):
            return ["and becomes or" if isinstance(op, ast.And) else "or becomes and"]
        case ast.UnaryOp(op=ast.Not()):
            return ["not is left out"]
        case ast.Constant(value=bool() as value):
            return [f"{value} becomes {not value}"]
        case ast.Constant(value=int() as value):
            return [f"{value} becomes {value + 1}"]
        case ast.Call():
            return [change for change, _ in _call_changes(node)]
        case ast.Expr(value=ast.Call()) | ast.AugAssign():
            return [f"'{_short(node)}' is left out"]
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return [f"'{_short(node)}' is left out"]
        case ast.IfExp():
            return ["the two ways of a condition are swapped"]
    return []


def _call_changes(node: ast.Call) -> list[tuple[str, str]]:
    """What can be done to a call, and which kind of change that is."""
    found = []
    name = _called_name(node)
    if name in _CALLED:
        found.append((f"{name} becomes {_CALLED[name]}", "name"))
    if len(node.args) > 1 and not any(isinstance(arg, ast.Starred) for arg in node.args[:2]):
        found.append((f"the first two arguments of '{_short(node)}' are swapped", "swap"))
    return found


def _called_name(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
    return ""


def _apply(node: ast.AST, variant: int) -> None:
    """Change a node in place."""
    match node:
        case ast.Compare():
            node.ops = [_COMPARED[type(node.ops[0])]()]
        case ast.BinOp():
            node.op = _OPERATED[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp():
            _become(node, node.operand)
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() as value):
            node.value = value + 1
        case ast.Call():
            _apply_to_call(node, _call_changes(node)[variant][1])
        case ast.IfExp():
            node.body, node.orelse = node.orelse, node.body
        case _:
            _become(node, ast.Pass())


def _apply_to_call(node: ast.Call, kind: str) -> None:
    if kind == "swap":
        node.args[0], node.args[1] = node.args[1], node.args[0]
    elif isinstance(node.func, ast.Name):
        node.func.id = _CALLED[node.func.id]
    elif isinstance(node.func, ast.Attribute):
        node.func.attr = _CALLED[node.func.attr]


def _become(node: ast.AST, other: ast.AST) -> None:
    """Put another node in the place of one."""
    node.__class__ = other.__class__
    node.__dict__.clear()
    node.__dict__.update(other.__dict__)


def _sign(op: ast.AST) -> str:
    signs = {
        "Lt": "<", "LtE": "<=", "Gt": ">", "GtE": ">=", "Eq": "==", "NotEq": "!=", "Is": "is",
        "IsNot": "is not", "In": "in", "NotIn": "not in", "Add": "+", "Sub": "-", "Mult": "*",
        "Div": "/", "FloorDiv": "//",
    }  # fmt: skip
    return signs[type(op).__name__]


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."
