"""How often `draftproof history` shows a change point, on simulated lines: with none, and with one.

python benchmarks/history_alarms.py --lines 2000 --seed 0 --write docs/history.md
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import binomtest

from draftproof.statistics.change_point import change_points

ALPHA = 0.05
BEGIN, END = "<!-- false-alarms:begin -->", "<!-- false-alarms:end -->"
Draw = Callable[[np.random.Generator, int], np.ndarray]

LAWS: dict[str, Draw] = {
    "normal": lambda generator, n: generator.normal(size=n),
    "heavy tails (Cauchy)": lambda generator, n: generator.standard_cauchy(n),
    "two values": lambda generator, n: generator.integers(0, 2, n).astype(float),
    "no noise (a greedy engine)": lambda _, n: np.zeros(n),
}


def share(alarms: int, lines: int) -> str:
    """A share with Clopper and Pearson's 95% interval."""
    interval = binomtest(alarms, lines).proportion_ci(0.95)
    return f"{alarms / lines:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def false_alarms(generator: np.random.Generator, lines: int) -> list[str]:
    """A row a law: how often a line that never changed shows a change point."""
    lengths = (10, 30, 100)
    rows = [
        f"| nothing changed, α {ALPHA:g} | " + " | ".join(f"{n} commits" for n in lengths) + " |",
        "|---|" + "---:|" * len(lengths),
    ]
    for name, draw in LAWS.items():
        found = [
            sum(bool(change_points(draw(generator, n), ALPHA)) for _ in range(lines))
            for n in lengths
        ]
        rows.append(f"| {name} | " + " | ".join(share(count, lines) for count in found) + " |")
    return rows


def power(generator: np.random.Generator, lines: int) -> list[str]:
    """How often a shift is found within two commits of its place."""
    shifts = (0.0, 0.5, 1.0, 2.0, 4.0)
    rows = [
        "| one change, normal noise | "
        + " | ".join("no noise" if s == 0 else f"{s:g} sd" for s in shifts)
        + " |",
        "|---|" + "---:|" * len(shifts),
    ]
    for n, at in ((20, 10), (20, 17), (50, 25), (50, 45), (200, 190)):
        cells = []
        for shift in shifts:
            hits = 0
            for _ in range(lines):
                noise = np.zeros(n) if shift == 0 else generator.normal(size=n)
                noise[at:] += shift or 1.0
                hits += any(abs(each.at - at) <= 2 for each in change_points(noise, ALPHA))
            cells.append(f"{hits / lines:.0%}")
        rows.append(f"| {n} commits, the last {n - at} after it | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--power-lines", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="a page with the marks of these tables")
    given = parser.parse_args()
    generator = np.random.default_rng(given.seed)
    text = "\n".join(
        [
            f"`python benchmarks/history_alarms.py --lines {given.lines} --power-lines "
            f"{given.power_lines} --seed {given.seed}`: {given.lines:,} lines a cell of the first "
            f"table and {given.power_lines} of the second, Python {platform.python_version()}, "
            f"numpy {np.__version__}, scipy {scipy.__version__}. One line is tested; shifts are in "
            "standard deviations of the noise between commits, and found means within two commits.",
            "",
            *false_alarms(generator, given.lines),
            "",
            *power(generator, given.power_lines),
        ]
    )
    if given.write is None:
        print(text)
        return
    page = given.write.read_text(encoding="utf-8")
    start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    given.write.write_text(f"{page[:start]}\n{text}\n{page[end:]}", encoding="utf-8")


if __name__ == "__main__":
    main()
