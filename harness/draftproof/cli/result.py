"""What a command prints last, and its exit code."""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """The end of a command.

    Attributes:
        text: To print.
        exit_code: 0 unless what was asked for was found wanting.
    """

    text: str
    exit_code: int = 0
