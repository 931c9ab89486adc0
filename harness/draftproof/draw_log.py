"""A file with every random draw of a case, for finding faults of randomness."""

from __future__ import annotations

import dataclasses
import json
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from draftproof.errors import DraftproofError
from draftproof.randomness import Draw


@contextmanager
def log_draws(directory: Path | None, case_id: str) -> Iterator[Callable[[Draw], None] | None]:
    """An observer that writes each draw of a case as a line of JSON; None without a folder.

    The lines are in the order of the draws, and a case that ends in an error leaves the draws up to
    it. The file is named after the case, with the characters escaped that do not belong in a name.

    Args:
        directory: Made where it is not there.
        case_id: Stable identity of the prompt.

    Raises:
        DraftproofError: The file cannot be written.
    """
    if directory is None:
        yield None
        return
    path = directory / f"{urllib.parse.quote(case_id, safe='')}.jsonl"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise DraftproofError(
            f"cannot write {path}: {error.strerror}; give another --spec-log-draws"
        ) from error
    with file:
        yield lambda draw: print(json.dumps(dataclasses.asdict(draw)), file=file)
