"""Where the built-in assets lie: the trained pair and the prompt sets."""

from __future__ import annotations

from pathlib import Path

from draftproof.errors import DataError

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "fixtures", _PACKAGE.parents[1] / "fixtures")
"""An installed wheel carries the assets inside the package; a checkout has them at its root."""


def asset_path(*parts: str) -> Path:
    """The path of a built-in asset.

    Args:
        *parts: Path below ``fixtures/``, for example ``"prompts", "code.jsonl"``.

    Raises:
        DataError: The asset is in neither place, so the installation is broken.
    """
    for place in _PLACES:
        candidate = place.joinpath(*parts)
        if candidate.exists():
            return candidate
    raise DataError(
        f"the built-in asset {'/'.join(parts)} is not at {_PLACES[0]} or {_PLACES[1]}; "
        "reinstall draftproof (pip install --force-reinstall draftproof)"
    )
