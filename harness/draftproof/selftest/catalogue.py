"""The catalogue: every planted fault, every control, and what cannot be planted here."""

from __future__ import annotations

from collections.abc import Iterable

from draftproof.errors import unknown_value
from draftproof.selftest import (
    batches,
    cache,
    controls,
    distributions,
    dynamic_length,
    metrics,
    numerics,
    positions,
    randomness,
    requests,
    siblings,
    stopping,
    verification,
    vocabulary,
)
from draftproof.selftest.mutant import FaultClass, Mutant

CATALOGUE: dict[str, Mutant] = {
    mutant.id: mutant
    for module in (
        verification,
        siblings,
        distributions,
        positions,
        cache,
        stopping,
        randomness,
        vocabulary,
        numerics,
        metrics,
        dynamic_length,
        requests,
        batches,
    )
    for mutant in module.MUTANTS
} | {control.id: control for control in controls.CONTROLS}
"""By id: the faults, class by class, and then the lossless controls."""


def chosen(ids: Iterable[str] = (), classes: Iterable[str] = ()) -> tuple[Mutant, ...]:
    """The mutants of these ids and classes; all of them for neither.

    Args:
        ids: Keys of `CATALOGUE`.
        classes: Values of `FaultClass`.

    Raises:
        UsageError: There is no such mutant or class.
    """
    wanted, of_class = tuple(ids), tuple(classes)
    for name in wanted:
        if name not in CATALOGUE:
            raise unknown_value("--mutant", name, CATALOGUE)
    for name in of_class:
        if name not in set(FaultClass):
            raise unknown_value("--class", name, [str(value) for value in FaultClass])
    if not wanted and not of_class:
        return tuple(CATALOGUE.values())
    return tuple(
        mutant
        for mutant in CATALOGUE.values()
        if mutant.id in wanted or mutant.fault_class in of_class
    )
