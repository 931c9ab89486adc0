"""Writes into docs/exactness.md how many combinations a run of the exact tests proves.

    python docs/make_exactness.py ci|nightly [pytest's options]

Runs tests/exactness under that Hypothesis profile, and puts what pytest printed into the page.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

from draftproof.environment import hardware, versions

PAGE = Path(__file__).parent / "exactness.md"
PROFILES = ("ci", "nightly")


def run(profile, options):
    """What pytest printed; ends this process if a test failed."""
    command = [sys.executable, "-m", "pytest", *options, "tests/exactness"]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": profile}
    result = subprocess.run(
        command,
        env=environment,
        cwd=PAGE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(result.stdout + result.stderr)
    return result.stdout


def sentence(profile, options, printed):
    """What a run proved, with its command, processor time, hardware and versions.

    Processor time, unlike the wall's, does not depend on what else the machine does.
    """
    proved = re.search(r"^exactness: ([\d,]+) combinations", printed, flags=re.MULTILINE)[1]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = round(used.ru_utime + used.ru_stime)
    machine, packages = hardware(), versions()
    command = " ".join(["python docs/make_exactness.py", profile, *options])
    return (
        f"One run of the `{profile}` profile proves **{proved}** combinations of rule, draft, "
        f"sampling setting\nand table (`{command}`: {seconds:,} seconds of processor time in all on\n"
        f"{machine['cpus']} × {machine['cpu']}, Python {platform.python_version()}, torch "
        f"{packages['torch']})."
    )


def updated(page, profile, text):
    """The page with a profile's block replaced."""
    block = rf"(<!-- proved: {profile} -->\n).*?(\n<!-- end -->)"
    return re.sub(block, lambda match: match[1] + text + match[2], page, flags=re.DOTALL)


def main():
    profile, *options = sys.argv[1:] or [""]
    if profile not in PROFILES:
        sys.exit(__doc__)
    text = sentence(profile, options, run(profile, options))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(updated(page, profile, text), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
