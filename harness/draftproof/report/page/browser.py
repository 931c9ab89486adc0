"""Opens a page in the reader's browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path


def open_page(path: Path) -> str:
    """Ask the system to open a page, and say in a line what came of it."""
    url = path.resolve().as_uri()
    try:
        opened = webbrowser.open(url)
    except (OSError, webbrowser.Error):
        opened = False
    return f"Opened {url}" if opened else f"No browser could be opened here; open {url}"
