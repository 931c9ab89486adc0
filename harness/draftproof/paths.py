"""What a path of a user's leads to; a path that cannot be one leads nowhere."""

from __future__ import annotations

from pathlib import Path


def is_file(path: str | Path) -> bool:
    """Whether it is a file that can be seen; also of a name that is too long, or has a NUL."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder that can be seen; also of a name that is too long, or has a NUL."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False
