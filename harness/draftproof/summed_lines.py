"""Lines of JSON that carry their own checksum, so that a bit that a disk turned over is noticed.

The last member of each line's object, ``crc32``, is the CRC-32 of the line without it.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

_SUM = re.compile(r',"crc32":(\d{1,10})\}$')


def summed(line: str) -> str:
    """The text of a JSON object with the checksum of that text as its last member.

    Example:
        >>> summed('{"a":1}')
        '{"a":1,"crc32":1444654255}'
    """
    return f'{line[:-1]},"crc32":{zlib.crc32(line.encode())}}}'


def is_as_written(line: str) -> bool:
    """Whether a line is what `summed` made of it.

    Example:
        >>> is_as_written('{"a":1,"crc32":1444654255}'), is_as_written('{"a":2,"crc32":1444654255}')
        (True, False)
    """
    found = _SUM.search(line)
    if found is None:
        return False
    text = line[: found.start()] + "}"
    return zlib.crc32(text.encode()) == int(found[1])


def drop_torn_line(path: Path) -> None:
    """Cut off what stands after the last end of a line: a write that did not finish."""
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)
