"""The charting library: Vega-Lite with all that it needs, out of a Python package.

vl-convert carries Vega, Vega-Lite and Vega-Embed (BSD 3-Clause, University of Washington) and
bundles them without a network. Bundling takes as long as a small run's analysis, so the bundle is
kept in the user's cache folder, by versions.
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

from draftproof.errors import DraftproofError
from draftproof.files import write_atomically

PACKAGE = "vl-convert-python"
VEGA_LITE = "6.1"
"""The version that the page's specifications are written for."""


@cache
def compressed_library() -> bytes:
    """The library as gzipped JavaScript, which defines ``vegaEmbed``; made once for all runs.

    Raises:
        DraftproofError: vl-convert cannot be imported.
    """
    kept = kept_library()
    if kept is None:
        return _bundled()
    with suppress(OSError, EOFError, zlib.error):
        library = kept.read_bytes()
        if gzip.decompress(library):  # and by its checksum not a part of one
            return library
    library = _bundled()
    with suppress(OSError, DraftproofError):  # where it cannot be kept, the next run bundles again
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(kept, partial(_write, library))
    return library


def kept_library() -> Path | None:
    """Where the bundle of the versions installed is kept; None where there is no such version.

    The folder is the user's own cache folder of this system (``~/.cache/draftproof`` on Linux, or
    below ``XDG_CACHE_HOME``); deleting it costs the time of one bundling.
    """
    from platformdirs import user_cache_path

    try:
        bundler = version(PACKAGE)
    except PackageNotFoundError:
        return None
    return user_cache_path("draftproof") / f"vega-lite-{VEGA_LITE}-{PACKAGE}-{bundler}.js.gz"


def _write(library: bytes, file: BinaryIO) -> None:
    file.write(library)


def _bundled() -> bytes:
    try:
        import vl_convert
    except ImportError as error:
        raise DraftproofError(
            f"it needs vl-convert, which cannot be imported ({error}); pip install "
            "vl-convert-python, then `draftproof report DIR` makes the page"
        ) from error
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return gzip.compress(script.encode("utf-8"), 9, mtime=0)
