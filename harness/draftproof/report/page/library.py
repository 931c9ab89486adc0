"""The charting library: Vega-Lite with all that it needs, out of a Python package.

vl-convert carries Vega, Vega-Lite and Vega-Embed (BSD 3-Clause, University of Washington) and
bundles them without a network.
"""

from __future__ import annotations

import gzip
from functools import cache

from draftproof.errors import DraftproofError

VEGA_LITE = "6.1"
"""The version that the page's specifications are written for."""


@cache
def compressed_library() -> bytes:
    """The library as gzipped JavaScript, which defines ``vegaEmbed``; made once in a process.

    Raises:
        DraftproofError: vl-convert cannot be imported.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise DraftproofError(
            f"it needs vl-convert, which cannot be imported ({error}); pip install "
            "vl-convert-python, then `draftproof report DIR` makes the page"
        ) from error
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return gzip.compress(script.encode("utf-8"), 9, mtime=0)
