"""What an attack is: something that goes wrong on purpose, and what was lost by it."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SURVIVED = ""
_SECONDS = 60
_BYTES = 4 << 30
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """Something that goes wrong.

    Attributes:
        kind: Its row of the table: what is done, such as ``kill at a random moment: the run``.
        name: Says all that is needed to do it again.
        run: Does it in an empty folder; returns what was lost, or nothing.
        tried: How many things go wrong in it.
    """

    kind: str
    name: str
    run: Callable[[Path], str]
    tried: int = 1


def held(attempts: Sequence[Callable[[], Any]]) -> Iterator[str]:
    """Try each in a process of its own, bounded in time and memory.

    An attempt may return a text, which is what it lost; raise an error of draftproof's, which is a
    refusal with a reason; or do neither. Anything else is a defect.
    """
    for attempt in attempts:
        ours, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_attempt, args=(attempt, theirs), daemon=True)
        process.start()
        theirs.close()
        if not ours.poll(_SECONDS):
            process.kill()
            yield f"hung for {_SECONDS} s"
        else:
            try:
                yield ours.recv()
            except EOFError:
                process.join()
                yield f"the process died with code {process.exitcode}"
        process.join()


def _attempt(attempt: Callable[[], Any], pipe: Any) -> None:
    from draftproof.errors import DraftproofError

    resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
    try:
        found = attempt()
        pipe.send(found if isinstance(found, str) else SURVIVED)
    except DraftproofError as error:
        text = str(error)
        is_said = text and all(c.isprintable() or c in "\n\t" for c in text)
        pipe.send(SURVIVED if is_said else f"refused with the text {text!r}")
    except BaseException as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = "" if place is None else f" in {Path(place.tb_frame.f_code.co_filename).name}"
        where += "" if place is None else f":{place.tb_lineno}"
        pipe.send(f"{type(error).__name__}{where}: {str(error)[:200]}")
