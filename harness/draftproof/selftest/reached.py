"""Which statements a verification reaches: a change of one that it does not reach survives it.

``python -m draftproof.selftest.reached FILE verify …`` is ``draftproof verify …``, and writes into
FILE the statements that ran of all files that may be changed. They are noted by statements that are
put before each one where a module is imported; the installed files stay as they are.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from draftproof.selftest.mutated import import_changed, module_of
from draftproof.selftest.source_mutants import PACKAGE, SourceMutant, target_files

_NOTE = "_draftproof_reached_"

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
        note = ast.parse(f"{_NOTE}({statement.lineno})").body[0]
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


def main(arguments: Sequence[str]) -> int:
    """Run a command, and write what it reached; its exit code."""
    import builtins

    file, *command = arguments
    found: dict[str, set[int]] = {}
    for path in target_files():
        name = path.relative_to(PACKAGE).as_posix()
        lines = found[name] = set()
        # Every module has a note of its own, which is known by the name of its file.
        note = f"{_NOTE}{len(found)}"
        setattr(builtins, note, lines.add)
        source = noted(path.read_text(encoding="utf-8")).replace(f"{_NOTE}(", f"{note}(")
        import_changed(module_of(path), path, source)
    from draftproof.cli.main import main as run

    code = run(command)
    Path(file).write_text(json.dumps({name: sorted(lines) for name, lines in found.items()}))
    return code


def read_reached(path: Path) -> Reached:
    """What `main` wrote."""
    entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: frozenset(lines) for name, lines in entries.items()}


def is_reached(mutant: SourceMutant, reached: Reached) -> bool:
    """Whether the statement that a change is in ran."""
    return mutant.statement in reached.get(mutant.file, frozenset())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
