"""Which statements a verification reaches: a change of one that it does not reach survives it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from draftproof.selftest.source_mutants import SourceMutant

NOTE = "_draftproof_reached_"
"""What is called with the first line of a statement before it runs."""

Reached = Mapping[str, frozenset[int]]
"""By file, the first lines of the statements that ran."""


class _Noted(ast.NodeTransformer):
    """Puts before each statement one that notes its first line."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                setattr(node, name, [line for stmt in block for line in _with_note(stmt)])
        return node


def _with_note(statement: ast.stmt) -> Iterable[ast.stmt]:
    is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    is_future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
    if not (is_docstring or is_future):
        note = ast.parse(f"{NOTE}({statement.lineno})").body[0]
        yield ast.copy_location(note, statement)
    yield statement


def noted(source: str) -> str:
    r"""A source in which each statement is noted before it runs.

    Example:
        >>> print(noted("if a:\n    b = 1"))
        _draftproof_reached_(1)
        if a:
            _draftproof_reached_(2)
            b = 1
    """
    return ast.unparse(ast.fix_missing_locations(_Noted().visit(ast.parse(source))))


def read_reached(path: Path) -> Reached:
    """What `draftproof.selftest.noting` wrote."""
    entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: frozenset(lines) for name, lines in entries.items()}


def is_reached(mutant: SourceMutant, reached: Reached) -> bool:
    """Whether the statement that a change is in ran."""
    return mutant.statement in reached.get(mutant.file, frozenset())
