"""The share of changes of the source that were seen, by file and of all, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from draftproof.selftest.fault_journal import Examination
from draftproof.statistics.small_samples import moment_interval

LEVEL = 0.95
SURVIVED = "survived"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillRate:
    """A share of changes that were seen, with its interval.

    Attributes:
        seen: Changes that did not survive.
        of: Changes that were examined and are not known to be without effect.
        share: Of the changes that the files allow; weighted where several files are put together.
        low: Lower end of the 95% interval.
        high: Upper end.
    """

    seen: int
    of: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.share:.2f} [{self.low:.2f}, {self.high:.2f}]"


def kill_rate(
    examinations: Iterable[Examination],
    sizes: Mapping[str, int],
    equivalent: Iterable[str] = (),
) -> KillRate | None:
    """The share of the changes of some files that would be seen; None where none was examined.

    Each file is a stratum: a change of it stands for as many as it has, over as many as were drawn
    from it. The interval is Korn and Graubard's: Clopper and Pearson's of as many independent draws
    as the weighted ones are worth. What is known to be without effect is left out, on both sides.

    Args:
        examinations: What became of changes.
        sizes: By file, how many changes it allows.
        equivalent: Names of changes that are without effect.

    Source:
        Korn and Graubard 1998, *Confidence intervals for proportions with small expected number of
        positive counts estimated from survey data*; Kish 1965 on the worth of weighted draws.
    """
    leave_out = frozenset(equivalent)
    drawn: dict[str, list[Examination]] = defaultdict(list)
    for found in examinations:
        drawn[found.mutant.file].append(found)
    weighted = [
        (sizes[file] / len(found), entry.ending != SURVIVED)
        for file, found in drawn.items()
        for entry in found
        if entry.mutant.name not in leave_out
    ]
    if not weighted:
        return None
    total = sum(weight for weight, _ in weighted)
    share = sum(weight for weight, is_seen in weighted if is_seen) / total
    worth = total**2 / sum(weight**2 for weight, _ in weighted)
    seen = sum(is_seen for _, is_seen in weighted)
    low, high = _interval(share, worth, is_all=seen == len(weighted), is_none=not seen)
    return KillRate(seen=seen, of=len(weighted), share=share, low=low, high=high)


def _interval(share: float, worth: float, *, is_all: bool, is_none: bool) -> tuple[float, float]:
    unseen = float(1 - ((1 - LEVEL) / 2) ** (1 / worth))
    if is_all:
        return 1 - unseen, 1.0
    if is_none:
        return 0.0, unseen
    return moment_interval(share, share * (1 - share) / worth, (0.0, 1.0), float("inf"), LEVEL)


def table(
    examinations: Sequence[Examination],
    sizes: Mapping[str, int],
    endings: Sequence[str],
    equivalent: Iterable[str] = (),
) -> str:
    """How the changes of each file ended, and what share of them is seen, as Markdown."""
    leave_out = frozenset(equivalent)
    columns = ["file", "changes", "examined", *endings]
    columns += ["without effect"] * bool(leave_out)
    lines = [
        "| " + " | ".join([*columns, "seen [95% interval]"]) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    files = sorted({found.mutant.file for found in examinations})
    for file in [*files, "all"]:
        chosen = [found for found in examinations if file in ("all", found.mutant.file)]
        size = sum(sizes.values()) if file == "all" else sizes[file]
        counts = [sum(found.ending == ending for found in chosen) for ending in endings]
        if leave_out:
            counts.append(sum(found.mutant.name in leave_out for found in chosen))
        rate = kill_rate(chosen, sizes, leave_out)
        row = [file, f"{size:,}", str(len(chosen)), *map(str, counts)]
        lines.append("| " + " | ".join([*row, "–" if rate is None else str(rate)]) + " |")
    return "\n".join(lines)
