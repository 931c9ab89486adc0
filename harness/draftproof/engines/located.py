"""Engines and parts of a user's own, found by where they are: ``package.module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from draftproof.engines.guarded import raised_at
from draftproof.errors import UsageError


def located(place: str, option: str) -> Any:
    """What is at ``package.module:name``, also where its module lies in this folder.

    Installed modules come first, so that no file beside a suite takes the place of a library.

    Args:
        place: The place; the name may have dots.
        option: What gave it, such as ``--spec-engine``, for messages.

    Raises:
        UsageError: There is nothing, or its module fails when it is imported.

    Example:
        >>> located("fractions:Fraction", "--spec-engine").__name__
        'Fraction'
    """
    top_level = place.partition(":")[0].partition(".")[0]
    folder = str(Path.cwd())
    is_known = top_level in sys.modules or not top_level or importlib.util.find_spec(top_level)
    if not is_known and folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    return imported(place, f"{option} {place}")


def imported(place: str, given: str) -> Any:
    """What is at ``package.module:name``, of a module that can be imported.

    Args:
        place: The place.
        given: Option and value, for messages.

    Raises:
        UsageError: As `located`.
    """
    module, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(_not_imported(given, module, error)) from error
    source = getattr(found, "__file__", None)
    for part in attribute.strip().split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"{given}: cannot be imported: module '{module}'"
                + (f" ({source})" if source else "")
                + f" has no '{attribute}'"
            )
        found = getattr(found, part)
    return found


def _not_imported(given: str, module: str, error: BaseException) -> str:
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and (module == absent or module.startswith(f"{absent}.")):
        return (
            f"{given}: cannot be imported: there is no module '{absent}', neither installed nor in "
            f"{Path.cwd()}; start in its folder, or install it"
        )
    return (
        f"{given}: cannot be imported: {module} fails when it is imported: "
        f"{type(error).__name__}: {error}{raised_at(error, None)}"
    )
