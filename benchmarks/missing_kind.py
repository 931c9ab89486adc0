"""What a few prompts say where a kind of prompt may not be among them: intervals and floors.

    python benchmarks/missing_kind.py [--runs 400] [--write docs/statistics.md]

Simulated prompts have one of two rates; the rarer kind is often missing from a small sample, and
the prompts that were drawn then differ by no more than chance. Counted are how often the 95%
interval holds the true rate, and how often a floor or a ceiling that the truth breaks is passed at
α = .05; each as it is, and as it would be if only prompts that are all the same were reckoned to
say nothing of others. `--write` puts the tables between the page's markers.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np

from draftproof.environment import versions
from draftproof.gate import Outcome, parse_gate
from draftproof.gate.judging import decide, judge
from draftproof.gate.paired import PairedSums
from draftproof.statistics import RatioSums, Resampling, stratified_estimates
from draftproof.statistics.bootstrap import SHARE
from draftproof.statistics.small_samples import own_noise

NODES = 60
COVERAGE_AT = (3, 4, 6, 7, 9, 12, 16, 25)
FLOORS_AT = (6, 8, 12, 16, 25, 30, 40, 60)
KINDS = {
    # Share of the rarer kind; its rate and the others'; how many times longer its prompts are.
    "15% at .3, the others at .99": (0.15, 0.3, 0.99, 1),
    "20% at .3 and 8 × longer, the others at .9": (0.2, 0.3, 0.9, 8),
    "all at .7": (0.0, 0.7, 0.7, 1),
}
FLOORS = {
    "acceptance_rate_reached:>=0.95": (0.15, 0.3, 0.99, 1),
    "acceptance_rate_reached:>=0.95 ": (0.06, 0.3, 0.99, 1),
    "acceptance_rate_reached:>=0.96": (0.05, 0.3, 0.99, 1),
    "acceptance_rate_drafted:<=0.05": (0.10, 0.9, 0.01, 1),
}


def truth(kind):
    share, rare, usual, longer = kind
    return (share * longer * rare + (1 - share) * usual) / (share * longer + 1 - share)


def drawn(kind, prompts, generator):
    """Kept nodes and nodes of some prompts."""
    share, rare, usual, longer = kind
    is_rare = generator.random(prompts) < share
    of = np.where(is_rare, NODES * longer, NODES)
    return generator.binomial(of, np.where(is_rare, rare, usual)).astype(float), of.astype(float)


def coverage(kind, prompts, runs, *, as_it_is):
    """Share of the intervals that hold the truth, of those that there are."""
    found = []
    for run in range(runs):
        kept, of = drawn(kind, prompts, np.random.default_rng([1, prompts, run]))
        noise = own_noise(kept, of, kept)[:, None] if as_it_is else None
        sums = RatioSums(kept[:, None], of[:, None], kept[:, None], noise)
        few = Resampling(resamples=400, seed=run)
        (interval,) = stratified_estimates({"code": sums}, ["-"], few, [SHARE]).pooled
        if np.isfinite(interval.low):
            found.append(interval.low <= truth(kind) <= interval.high)
    return f"{np.mean(found):.0%}" if found else "–"


def false_passes(gate, kind, prompts, runs, *, as_it_is):
    passes = 0
    for run in range(runs):
        kept, of = drawn(kind, prompts, np.random.default_rng([2, prompts, run]))
        sums = PairedSums.beside_bound(kept, of, gate.bound)
        noise = own_noise(kept, of, kept) if as_it_is else None
        found = judge(gate, "code", sums, 0.95, interval=False, noise=noise)
        passes += decide([found], 0.05)[0].outcome is Outcome.PASS
    return f"{passes / runs:.0%}"


def tables(runs):
    lines = [
        f"Intervals: share that hold the truth ({runs} samples a cell; those without an interval "
        "left out), as they are / without it.",
        "",
        "| prompts | " + " | ".join(map(str, COVERAGE_AT)) + " |",
        "|---|" + "---:|" * len(COVERAGE_AT),
    ]
    for name, kind in KINDS.items():
        cells = [
            " / ".join(coverage(kind, n, runs, as_it_is=is_so) for is_so in (True, False))
            for n in COVERAGE_AT
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Floors and ceilings that the truth breaks: share passed, likewise.",
        "",
        "| prompts | truth | " + " | ".join(map(str, FLOORS_AT)) + " |",
        "|---|---:|" + "---:|" * len(FLOORS_AT),
    ]
    for text, kind in FLOORS.items():
        gate = parse_gate(text.strip())
        cells = [
            " / ".join(false_passes(gate, kind, n, runs, as_it_is=is_so) for is_so in (True, False))
            for n in FLOORS_AT
        ]
        lines.append(f"| `{text.strip()}` | {truth(kind):.3f} | " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    installed = versions()
    command = shlex.join(["python", "benchmarks/missing_kind.py", *sys.argv[1:]])
    made = [f"`{command}`, numpy {installed['numpy']}.", "", *tables(options.runs)]
    print("\n".join(made))
    if options.write:
        begin, end = "<!-- missing kind:begin -->", "<!-- missing kind:end -->"
        before, _, rest = options.write.read_text("utf-8").partition(begin)
        after = rest.partition(end)[2]
        text = "\n".join([before + begin, *made, end + after])
        options.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
