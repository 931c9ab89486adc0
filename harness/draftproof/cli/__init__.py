"""The command ``draftproof``: reads saved runs and prints what they say. Needs no torch."""

from __future__ import annotations

from draftproof.cli.main import main

__all__ = ["main"]
