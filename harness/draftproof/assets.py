"""Where the built-in assets lie: the trained pair, the prompt sets and the documents."""

from __future__ import annotations

from pathlib import Path

from draftproof.errors import DataError

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / "fixtures", _PACKAGE.parents[1] / "fixtures")
"""An installed wheel carries the assets inside the package; a checkout has them at its root."""

_MANUALS = (_PACKAGE / "manual", _PACKAGE.parents[1])
"""The folder of the README and of ``docs/``, likewise."""

_BESIDE_DOCS = ("README", "SECURITY", "CONTRIBUTING", "CHANGELOG")
"""Documents that lie beside ``docs/``, in this order."""


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


def documents() -> dict[str, Path]:
    """Every document by its name, which is that of its file in lower case.

    Returns:
        ``readme`` and its neighbours first, then the pages of ``docs/``, then ``decisions/…``.

    Raises:
        DataError: There is none, so the installation is broken.
    """
    manual = next((place for place in _MANUALS if (place / "docs").is_dir()), None)
    if manual is None:
        raise DataError(
            f"the documents are neither in {_MANUALS[0]} nor in {_MANUALS[1] / 'docs'}; "
            "reinstall draftproof (pip install --force-reinstall draftproof)"
        )
    docs = manual / "docs"
    beside = [manual / f"{name}.md" for name in _BESIDE_DOCS]
    pages = [*sorted(docs.glob("*.md")), *sorted(docs.glob("*/*.md"))]
    return {
        **{path.stem.lower(): path for path in beside},
        **{path.relative_to(docs).with_suffix("").as_posix().lower(): path for path in pages},
    }
