"""Runs the README's example, and writes how its first case fails into the README.

python docs/make_failing_output.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
_BEGIN, _END = "<!-- failing output -->\n", "<!-- end of failing output -->"


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def failing_output(text: str) -> str:
    """All that pytest prints of the first case that the example in a README fails.

    Raises:
        ValueError: The example does not fail.
    """
    rule, suite = blocks(text, "python")[:2]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        Path(folder, "conftest.py").write_text(rule, encoding="utf-8")
        Path(folder, "test_sql.py").write_text(suite, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = re.search(r"^_+ test_lossless\[sql/0\] _+\n(.*?)^[_=]{9}", done.stdout, re.S | re.M)
    if done.returncode != 1 or found is None:
        raise ValueError(f"the example does not fail as it should:\n{done.stdout}{done.stderr}")
    return found[1].rstrip("\n")


def printed(text: str) -> str:
    """What a README says that its example prints."""
    return text.partition(_BEGIN)[2].partition(_END)[0].strip("`\n")


def updated(text: str) -> str:
    """The README with what its example prints."""
    before, _, rest = text.partition(_BEGIN)
    return f"{before}{_BEGIN}```\n{failing_output(text)}\n```\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
