"""The law of a kernel's output over all drafts, whatever its rule: is it the target's?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.contract import KernelFacts
from draftproof.kernels.examination import TOLERANCES, Examination
from draftproof.kernels.judge import EmittedLaw, completed_law, sequence, target_law
from draftproof.kernels.law_checks import NO_UNIFORMS, sampled_finding
from draftproof.kernels.laws import Measured, measure
from draftproof.kernels.sampling import completed
from draftproof.kernels.tables import DraftTable, Fixture

Drafts = Sequence[tuple[Fixture, Sequence[DraftTable]]]
"""Fixtures, each with every draft of it."""


def lossless_output(examination: Examination) -> Finding:
    """Over all drafts, the emitted tokens and the target's own continuation follow its law."""
    if not examination.exact:
        return NO_UNIFORMS
    return output_finding(examination, examination.facts, examination.drafts, examination.measured)


def judged_output(
    examination: Examination, drafts: Drafts, *, rows: int, facts: KernelFacts | None = None
) -> Finding:
    """What is said of the output over some drafts: computed, or counted.

    Args:
        examination: Of the kernel.
        drafts: Of one batch.
        rows: The most to count.
        facts: Other facts of the kernel, a dtype for one.
    """
    facts = facts or examination.facts
    if examination.exact:
        tables = [table for _, own in drafts for table in own]
        return output_finding(
            examination, facts, drafts, measure(examination.kernel, facts, tables)
        )
    return counted_output(examination, drafts, rows=rows, facts=facts)


def counted_output(
    examination: Examination, drafts: Drafts, *, rows: int, facts: KernelFacts | None = None
) -> Finding:
    """As `judged_output`, always counted."""
    found = completed(
        examination.kernel,
        facts or examination.facts,
        drafts,
        rows=rows,
        alpha=examination.alpha,
        seed=examination.seed,
    )
    return sampled_finding(examination, found, False)


def output_finding(
    examination: Examination, facts: KernelFacts, drafts: Drafts, measured: Measured
) -> Finding:
    """What exact laws of every draft of some fixtures say of the output."""
    tolerance = 2 * TOLERANCES[facts.dtype]
    worst = 0.0
    problem, judged, places, position = "", 0, 0, 0
    if measured.restless:
        problem = "the same rows in another order emit other tokens"
    if measured.malformed:
        problem = measured.malformed[0][1]
    for fixture, tables in drafts:
        part = range(position, position + len(tables))
        position += len(tables)
        if measured.unresolved & set(part):
            continue
        law = _over_drafts(
            fixture, [measured.tables[i] for i in part], measured.laws[part.start : part.stop]
        )
        own = target_law(fixture)
        gaps = np.abs(law - own)
        if gaps.max() > tolerance and not problem:
            # What was not found by a coarse search must not count as a fault.
            again = measure(examination.kernel, facts, tables, fine=6)
            law = _over_drafts(fixture, again.tables, again.laws)
            gaps = np.abs(law - own)
        judged, places = judged + 1, places + len(gaps)
        if gaps.max() > max(worst, tolerance):
            worst = float(gaps.max())
            where = int(np.argmax(gaps))
            tokens = sequence(where, fixture.support, fixture.depth + 1)
            problem = (
                f"fixture '{fixture.name}': the tokens {tuple(fixture.ids[t] for t in tokens)} "
                f"come with probability {law[where]:.9g}; under the target they have "
                f"{own[where]:.9g}: the output is not the target's"
            )
    if not judged and not problem:
        return Finding(status=Status.NOT_TRIED, lines=("no fixture was resolved",))
    return Finding(
        status=Status.FAILED if problem else Status.PASSED,
        n=max(1, judged),
        places=max(1, places),
        place="continuations",
        lines=(problem,) if problem else (),
    )


def _over_drafts(
    fixture: Fixture, tables: Sequence[DraftTable], laws: Sequence[EmittedLaw]
) -> np.ndarray:
    total = sum(table.weight for table in tables)
    return completed_law(
        fixture, ((table.weight / total, law) for table, law in zip(tables, laws, strict=True))
    )
