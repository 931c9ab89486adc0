"""Runs the `draftproof` command with one changed source file, in a process of its own.

``python -m draftproof.selftest.mutated FILE:INDEX verify …`` is ``draftproof verify …`` with that
change. The installed files stay as they are: the change is made where the module is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from draftproof.selftest.source_mutants import PACKAGE, source_of


class _Changed(SourceFileLoader):
    """Loads a module from a changed source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module that is changed."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        self._module, self._path, self._source = module, path, source

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        where = str(self._path)
        packages = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname,
            where,
            loader=_Changed(fullname, where, self._source),
            submodule_search_locations=packages,
        )


def plant(name: str) -> None:
    """Have a module imported with a change in it.

    Args:
        name: Of a `draftproof.selftest.source_mutants.SourceMutant`.

    Raises:
        ValueError: There is no such mutant.
        RuntimeError: The module is imported already, so that the change would do nothing.
    """
    path, source = source_of(name)
    import_changed(module_of(path), path, source)


def module_of(path: Path) -> str:
    """The name of the module that a file of the package is."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_changed(module: str, path: Path, source: str) -> None:
    """Have a module imported from another source than its file's.

    Raises:
        RuntimeError: It is imported already, so that the change would do nothing.
    """
    if module in sys.modules:
        raise RuntimeError(f"{module} is imported already: nothing can be changed in it")
    sys.meta_path.insert(0, _Finder(module, path, source))


def main(arguments: Sequence[str]) -> int:
    """Run a command with a change; its exit code."""
    name, *command = arguments
    plant(name)
    from draftproof.cli.main import main as run

    return run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
