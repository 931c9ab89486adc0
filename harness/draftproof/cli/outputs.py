"""Files that commands are asked to write, looked at before the work that fills them."""

from __future__ import annotations

from pathlib import Path

from draftproof.errors import UsageError


def require_file(option: str, path: Path | None) -> Path | None:
    """Verify that a file can be written at a path; nothing where none is asked for.

    Returns:
        The path from the root: an engine may go to another folder before the file is written.

    Raises:
        UsageError: It is a folder, or lies in none.
    """
    if path is None:
        return None
    if path.is_dir():
        raise UsageError(f"{option} {path}: it is a folder; give a file's path")
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: there is no folder {path.parent}; make it first")
    return path.absolute()
