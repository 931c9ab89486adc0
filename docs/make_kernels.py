"""Writes the figures of docs/kernels.md from reports/kernels, and remakes those on request.

python docs/make_kernels.py            # the page, from the committed runs
python docs/make_kernels.py --measure  # the runs, then the page: some twenty minutes on a quiet machine
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).parent / "kernels.md"
RUNS = ROOT / "reports" / "kernels"
RIGHT = "draftproof.kernels.planted.controls:rejection"
MISSING = "Not measured since the code changed: `python docs/make_kernels.py --measure` writes it."
COMMANDS = {
    "selftest": ["--selftest"],
    "rejection": [RIGHT],
    "rejection-own": [RIGHT, "--randomness", "own"],
}


def measure():
    """Run each command anew."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for name, words in COMMANDS.items():
        file = (RUNS / f"{name}.json").relative_to(ROOT)
        command = ["draftproof", "verify-kernel", *words, "--json", str(file)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise SystemExit(f"{' '.join(command)} found a fault where there is none, or none")


def run(name):
    """What a command found, as it was committed."""
    return json.loads((RUNS / f"{name}.json").read_text(encoding="utf-8"))


def where(found):
    """The machine and the versions of a run."""
    machine = found["hardware"]
    return f"{machine['cpu']}, {machine['cpus']} cores; torch {found['versions']['torch']}"


def selftest():
    """How many of each kind were judged how, and by which check."""
    found = run("selftest")
    faults = [kernel for kernel in found["kernels"] if not kernel["lossless"]]
    controls = [kernel for kernel in found["kernels"] if kernel["lossless"]]
    missed = [kernel["id"] for kernel in faults if not kernel["caught_by"]]
    failed = [kernel["id"] for kernel in controls if kernel["caught_by"]]
    first = Counter(kernel["caught_by"][0] for kernel in faults if kernel["caught_by"])
    kinds = Counter((kernel["shape"], kernel["randomness"]) for kernel in faults)
    lines = [
        f"`{found['command']}` ({where(found)}; at most {found['rows']:,} rows a test): "
        f"{len(faults)} faults, of which {len(missed)} were missed"
        + (f" ({', '.join(missed)})" if missed else "")
        + f", and {len(controls)} lossless controls, of which {len(failed)} were failed"
        + (f" ({', '.join(failed)})" if failed else "")
        + ".",
        "",
        "| faults in | given uniforms | given a generator | by own draws |",
        "|---|---|---|---|",
        *(
            f"| {shape}s | "
            + " | ".join(str(kinds[shape, source]) for source in ("uniforms", "generator", "own"))
            + " |"
            for shape in ("chain", "tree")
        ),
        "",
        "| first caught by | faults |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in first.most_common()),
    ]
    return "\n".join(lines)


def power():
    """What a right kernel's run took, and the smallest share at which each fault would have shown."""
    computed, counted = run("rejection"), run("rejection-own")
    shares = [_shares(computed, "law given the draft"), _shares(counted, "law by counting")]
    names = [name for name in shares[0] if name in shares[1]]
    rows = next(
        check["facts"]["rows"] for check in counted["checks"] if check["name"] == "law by counting"
    )
    lines = [
        f"`{computed['command']}` took {_seconds(computed):.0f} s; `{counted['command']}` took "
        f"{_seconds(counted):.0f} s, and counted {rows:,} rows ({where(counted)}, one thread).",
        "",
        "| fault | share, computed | share, counted |",
        "|---|---|---|",
        *(
            f"| {name} | {_share(shares[0][name])} | {_share(shares[1][name])} |"
            for name in sorted(names, key=lambda name: -(shares[1][name] or 2))
        ),
    ]
    return "\n".join(lines)


def _seconds(found):
    return sum(check["seconds"] for check in found["checks"])


def _shares(found, name):
    (check,) = (check for check in found["checks"] if check["name"] == name)
    return check["facts"]["smallest_shares"]


def _share(value):
    return "not found" if value is None else f"{value:.2g}"


def updated(text):
    """The page with its figures made anew; where a run is missing, it says so."""
    sections = {
        "selftest": (selftest, ["selftest"]),
        "power": (power, ["rejection", "rejection-own"]),
    }
    for name, (make, runs) in sections.items():
        found = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        there = all((RUNS / f"{run}.json").exists() for run in runs)
        content = (make() if there else MISSING) + "\n"
        text, count = found.subn(lambda match, c=content: match[1] + c + match[2], text)
        if count != 1:
            raise SystemExit(f"{PAGE} has no section {name}")
    return text


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
