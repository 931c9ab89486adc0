"""Runs the `draftproof` command, and writes which statements it reached.

``python -m draftproof.selftest.noting FILE verify …`` is ``draftproof verify …``, and writes into
FILE the statements that ran of all files that may be changed. They are noted by statements that are
put before each one where a module is imported; the installed files stay as they are.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from draftproof.selftest.mutated import import_changed, module_of
from draftproof.selftest.reached import NOTE, noted
from draftproof.selftest.source_mutants import PACKAGE, target_files


def main(arguments: Sequence[str]) -> int:
    """Run a command, and write what it reached; its exit code."""
    import builtins

    file, *command = arguments
    found: dict[str, set[int]] = {}
    for path in target_files():
        name = path.relative_to(PACKAGE).as_posix()
        lines = found[name] = set()
        # Every module has a note of its own, which is known by the name of its file.
        note = f"{NOTE}{len(found)}"
        setattr(builtins, note, lines.add)
        source = noted(path.read_text(encoding="utf-8")).replace(f"{NOTE}(", f"{note}(")
        import_changed(module_of(path), path, source)
    from draftproof.cli.main import main as run

    code = run(command)
    Path(file).write_text(json.dumps({name: sorted(lines) for name, lines in found.items()}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
