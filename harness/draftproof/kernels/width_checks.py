"""Checks of what sizes do: vocabularies, lengths, greedy rows, half precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.adversarial import (
    chains_of_all_lengths,
    chains_of_several_lengths,
    dense_table,
    several_fixtures,
    trees_of_many_forms,
    wide_fixture,
    wide_tables,
)
from draftproof.kernels.calling import KernelError, named
from draftproof.kernels.contract import KernelFacts, Shape
from draftproof.kernels.examination import TOLERANCES, Examination
from draftproof.kernels.judge import rule_law
from draftproof.kernels.law_checks import law_finding, sampled_finding
from draftproof.kernels.laws import Measured, largest_gap, measure, measure_all
from draftproof.kernels.output_law import counted_output, judged_output
from draftproof.kernels.sampling import given_draft
from draftproof.kernels.tables import DraftTable, drafts

VOCABULARIES = (8, 1000, 32_000, 50_257, 152_064)
DENSE, DENSE_ONE_BY_ONE = 2600, 200
"""Ids of the table on which every id is possible; fewer where a call holds one row."""

_DENSE_ROWS, _FEW_DENSE_ROWS = 16_384, 2000

_NO_RULE = Finding(
    status=Status.NOT_AVAILABLE,
    lines=("no rule is declared: only the emitted tokens are judged",),
)


def vocabularies(examination: Examination) -> Finding:
    """The law is right whatever the vocabulary: padded ids, its ends, and many likely ids."""
    facts = examination.facts
    measured: list[Measured] = []
    rows, notes = 0, [f"vocabularies of {', '.join(map(str, VOCABULARIES))} ids"]
    if facts.rule != "any":
        dense, rejected = _dense(examination)
        if rejected is not None:
            return rejected
        notes.append(dense)
    alpha = examination.alpha / (len(VOCABULARIES) + 1)
    for size in VOCABULARIES:
        # Large vocabularies cost memory, and few rows of them fit into a call.
        few = 400 if size > 70_000 else 800 if size > 10_000 else 8000
        if facts.rule == "any":
            fixture = wide_fixture(facts, size)
            # Counted, as all drafts of it would take too many rows.
            finding = counted_output(examination, [(fixture, list(drafts(fixture)))], rows=few)
        elif examination.exact:
            part, failing = _confirmed(examination, wide_tables(facts, size))
            measured.append(part)
            finding = law_finding(examination, part, failing)
        else:
            found = given_draft(
                examination.kernel, facts, wide_tables(facts, size), rows=few, alpha=alpha
            )
            finding = sampled_finding(examination, found, True)
        rows += finding.places
        if finding.status is Status.FAILED:
            return replace(
                finding, lines=(f"with {size} ids: {finding.lines[0]}", *finding.lines[1:])
            )
    places = sum(part.boundaries for part in measured) or rows
    return Finding(
        status=Status.PASSED if places else Status.NOT_TRIED,
        n=len(VOCABULARIES),
        places=places,
        place="boundaries of coins" if measured else "rows",
        lines=tuple(notes),
    )


def _dense(examination: Examination) -> tuple[str, Finding | None]:
    """What was drawn where every id is possible, and the finding where that is another law."""
    facts = examination.facts
    size = DENSE_ONE_BY_ONE if facts.one_row else DENSE
    found = given_draft(
        examination.kernel,
        facts,
        [dense_table(facts, size)],
        rows=_FEW_DENSE_ROWS if facts.one_row else _DENSE_ROWS,
        alpha=examination.alpha / (len(VOCABULARIES) + 1),
        seed=examination.seed,
    )
    line = f"{found.evidence.rows:,} rows over {size} ids that are all possible"
    if not found.evidence.rejects:
        return line, None
    if found.malformed is not None:
        return line, sampled_finding(examination, found, True)
    seen = sum(len(emission) == 1 for emission in found.evidence.found(0))
    expected = sum(len(emission) == 1 for emission in found.evidence.nulls[0].emissions)
    return line, Finding(
        status=Status.FAILED,
        n=1,
        places=found.evidence.rows,
        place="rows",
        lines=(
            f"{line}: another law than the rule's (log₁₀ e = {found.evidence.value / 2.303:.1f}); "
            f"after a rejection {seen} different ids were drawn, of {expected} that may be. Does "
            "the kernel look at the largest few alone?",
        ),
    )


def lengths(examination: Examination) -> Finding:
    """Drafts of 0 to 16 tokens in one batch each follow the law; so do frames that none fills."""
    facts = examination.facts
    if facts.shape is Shape.TREE or not facts.ragged:
        return Finding(status=Status.NOT_AVAILABLE, lines=("all rows are of one length",))
    rows = max(50_000, examination.rows // 10)
    if facts.rule == "any":
        fixtures = several_fixtures(facts, seed=examination.seed, longest=6)[:7]
        return judged_output(examination, fixtures, rows=rows)
    tables = chains_of_several_lengths(facts, seed=examination.seed)
    wide = [table for table in tables if len(table) < 4]
    empty = [table for table in tables if not len(table)]
    notes: list[str] = []
    for some, places, what in (
        (wide, 7, "7 places, and drafts of 0 to 3 tokens"),
        (empty, 3, "3 places, and no drafted tokens"),
        (empty, 0, "no places at all"),
    ):
        try:
            finding = _judged(examination, some, rows // 4, places=places)
        except KernelError as error:
            notes.append(f"{what}: {error}")
            continue
        if finding.status is Status.FAILED:
            return replace(finding, lines=(f"{what}: {finding.lines[0]}", *finding.lines[1:]))
    if not examination.exact:
        tables = chains_of_all_lengths(facts, range(17), seed=examination.seed, copies=2)
    return _judged(examination, tables, rows, *notes)


def forms(examination: Examination) -> Finding:
    """Trees of eight nodes, wide, deep and in any order, follow the law, all in one batch."""
    facts = examination.facts
    if facts.shape is Shape.CHAIN:
        return Finding(status=Status.NOT_AVAILABLE, lines=("drafts are chains",))
    if facts.rule == "any":
        fixtures = several_fixtures(facts, seed=examination.seed)
        return judged_output(examination, fixtures, rows=max(50_000, examination.rows // 10))
    tables = trees_of_many_forms(facts, seed=examination.seed, copies=2 if facts.one_row else 4)
    if facts.ragged:
        return _judged(examination, tables, max(50_000, examination.rows // 10))
    finding = Finding(status=Status.NOT_TRIED)
    for parents in dict.fromkeys(table.parents for table in tables):
        own = [table for table in tables if table.parents == parents]
        finding = _judged(examination, own, max(20_000, examination.rows // 50))
        if finding.status is Status.FAILED:
            break
    return finding


def greedy_rows(examination: Examination) -> Finding:
    """Greedy rows, among sampled ones and by themselves, emit the target's argmax."""
    facts = examination.facts
    if facts.shape is Shape.TREE or facts.rule == "any":
        return (
            _NO_RULE
            if facts.rule == "any"
            else Finding(
                status=Status.NOT_AVAILABLE, lines=("trees are judged at one temperature",)
            )
        )
    tables = []
    for number, table in enumerate(examination.tables):
        # A tie has no argmax that every kernel must agree on.
        top = np.sort(table.target, 1)
        if len(table) == 2 and (top[:, -1] > top[:, -2]).all():
            tables.append(replace(table, greedy=number % 3 != 0))
    tables = tables[: 12 if facts.one_row else 150]
    if not any(table.greedy for table in tables):
        return Finding(status=Status.NOT_TRIED, lines=("no table without ties",))
    note = (
        "soft laws, of which the kernel takes the argmax"
        if facts.greedy_rows
        else "given as one-hot laws"
    )
    greedy = [table for table in tables if table.greedy]
    if not facts.one_row:
        finding = _judged(examination, greedy, 4 * len(greedy))
        if finding.status is Status.FAILED:
            first, *others = finding.lines
            return replace(finding, lines=(f"where all rows are greedy: {first}", *others))
    return _judged(examination, tables, max(20_000, examination.rows // 20), note)


def half_precision(examination: Examination) -> Finding:
    """In bfloat16 and float16 the law is right within the rounding of those."""
    facts = examination.facts
    if facts.dtype in ("bfloat16", "float16"):
        return Finding(status=Status.NOT_AVAILABLE, lines=("every check was in half precision",))
    places, notes = 0, []
    rows = max(20_000, examination.rows // 20)
    for dtype in ("bfloat16", "float16"):
        other = replace(facts, dtype=dtype)
        try:
            if facts.rule == "any":
                few = several_fixtures(facts, seed=examination.seed)
                finding = judged_output(examination, few, rows=rows, facts=other)
            elif examination.exact:
                finding = _half_law(examination, other)
            else:
                found = given_draft(
                    examination.kernel,
                    other,
                    _half_tables(examination),
                    rows=rows,
                    alpha=examination.alpha / 2,
                    seed=examination.seed,
                )
                finding = sampled_finding(examination, found, True)
        except KernelError as error:
            notes.append(f"{dtype}: {error}")
            continue
        places += finding.places
        if finding.status is Status.FAILED:
            return replace(finding, lines=(f"{dtype}: {finding.lines[0]}", *finding.lines[1:]))
    return Finding(
        status=Status.PASSED if places else Status.NOT_AVAILABLE,
        places=places,
        n=places,
        place="boundaries of coins" if examination.exact else "rows",
        lines=(
            f"to {TOLERANCES['bfloat16']:g} in bfloat16 and {TOLERANCES['float16']:g} in float16",
            *notes,
        ),
    )


def _half_tables(examination: Examination) -> list[DraftTable]:
    """Some of every shape: those of the first fixtures, and those on which faults show most."""
    found: dict[object, list[DraftTable]] = {}
    for table in examination.tables:
        found.setdefault(table.parents, []).append(table)
    return [table for tables in found.values() for table in tables[:: max(1, len(tables) // 20)]]


def _half_law(examination: Examination, facts: KernelFacts) -> Finding:
    tables = _half_tables(examination)
    found = measure_all(examination.kernel, facts, tables)
    for index, (table, law) in enumerate(zip(found.tables, found.laws, strict=True)):
        if index in found.unresolved:
            continue
        gap = largest_gap(rule_law(facts.rule, table), law)
        if gap > TOLERANCES[facts.dtype]:
            return Finding(
                status=Status.FAILED,
                n=len(tables),
                places=max(1, found.boundaries),
                place="boundaries of coins",
                lines=(
                    f"the law on fixture '{table.name}', draft {named(table, table.tokens)} is off "
                    f"by {gap:.3g}, which exceeds {TOLERANCES[facts.dtype]:g}",
                ),
            )
    return Finding(status=Status.PASSED, n=len(tables), places=found.boundaries)


def _judged(
    examination: Examination, tables: list[DraftTable], rows: int, *notes: str, places: int = 0
) -> Finding:
    """What is said of the law on some tables in one batch: computed, or counted."""
    if examination.exact:
        measured, failing = _confirmed(examination, tables, places)
        return law_finding(examination, measured, failing, *notes)
    found = given_draft(
        examination.kernel,
        examination.facts,
        tables,
        rows=rows,
        alpha=examination.alpha / 4,
        seed=examination.seed,
        places=places,
    )
    finding = sampled_finding(examination, found, True)
    return replace(finding, lines=(*finding.lines, *notes))


def _confirmed(
    examination: Examination, tables: list[DraftTable], places: int = 0
) -> tuple[Measured, list[int]]:
    """The laws on some tables in one batch, and which are wrong after a closer look, too."""
    kernel, facts = examination.kernel, examination.facts
    measured = measure(kernel, facts, tables, places=places)
    failing = _failing(examination, measured)
    if failing and not measured.restless:
        longest = max([places, *(len(table) for table in tables)])
        closely = [tables[index] for index in failing]
        again = measure(kernel, facts, closely, places=longest, fine=6)
        still = set(_failing(examination, again))
        failing = [index for place, index in enumerate(failing) if place in still]
    return measured, failing


def _failing(examination: Examination, measured: Measured) -> list[int]:
    wrong = {index for index, _ in measured.malformed}
    return [
        index
        for index, (table, law) in enumerate(zip(measured.tables, measured.laws, strict=True))
        if index in wrong
        or (
            index not in measured.unresolved
            and largest_gap(rule_law(examination.facts.rule, table), law)
            > max(examination.tolerance, 1e-6 if table.vocabulary > 1000 else 0)
        )
    ]
