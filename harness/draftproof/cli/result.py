"""What a command prints while it runs and at its end, and its exit code."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from draftproof.errors import printable


class Result(NamedTuple):
    """The end of a command.

    Attributes:
        text: To print.
        exit_code: 0 unless what was asked for was found wanting.
    """

    text: str
    exit_code: int = 0


def say(line: str) -> None:
    """Print a line at once, whatever it quotes of models and engines.

    Where nothing can be printed any more, because an engine has closed standard output or a disk is
    full, the work goes on: it may have a certificate to write.
    """
    with suppress(OSError, ValueError):
        print(printable(line), flush=True)
