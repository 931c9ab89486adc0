"""How often lossless engines are flagged: many seeded runs, each a system and draws of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from scipy.stats import binomtest

from draftproof.selftest.instruments import Surroundings, run
from draftproof.selftest.mutant import Mutant

TOKENS = 1000
"""Tokens of a run; the test may be watched at every one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarms:
    """Flagged runs of lossless engines.

    Attributes:
        runs: Runs.
        flagged: A line for each one that an instrument flagged: system, seed and message.
        tokens: Tokens that were judged in all.
        low: Lower end of the 95% interval of the rate (Clopper and Pearson).
        high: Upper end.
    """

    runs: int
    flagged: tuple[str, ...]
    tokens: int
    low: float
    high: float


def false_alarms(
    controls: Sequence[Mutant],
    around: Surroundings,
    *,
    runs: int,
    first_seed: int = 1000,
    instrument: str = "law on tables",
    tell: Callable[[str], None] = lambda line: None,
) -> FalseAlarms:
    """Run an instrument that draws, on lossless controls in turn, each time with another seed.

    The other instruments decide by equality: on a given system they say the same whatever the seed.

    Args:
        controls: Lossless systems.
        around: What they are examined with; each run takes a seed of its own.
        runs: How many.
        first_seed: The seed of the first run.
        instrument: Key of `INSTRUMENTS`.
        tell: Told of each flagged run.
    """
    able = [control for control in controls if control.lossless and not control.transformer]
    flagged: list[str] = []
    tokens = 0
    for index in range(runs):
        control, seed = able[index % len(able)], first_seed + index
        outcome = run(instrument, control, replace(around, seed=seed, law_tokens=TOKENS))
        tokens += outcome.tokens
        if outcome.caught:
            flagged.append(f"{control.id}, seed {seed}: {outcome.message}")
            tell(flagged[-1])
    low, high = interval(len(flagged), runs)
    return FalseAlarms(runs=runs, flagged=tuple(flagged), tokens=tokens, low=low, high=high)


def interval(flagged: int, runs: int) -> tuple[float, float]:
    """The 95% Clopper–Pearson interval of a rate.

    Example:
        >>> low, high = interval(0, 200)
        >>> low, round(high, 4)
        (0.0, 0.0183)
    """
    found = binomtest(flagged, runs).proportion_ci(confidence_level=0.95, method="exact")
    return float(found.low), float(found.high)
