"""Checks of what sizes do: vocabularies, lengths, greedy rows, half precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.adversarial import (
    chains_of_all_lengths,
    chains_of_several_lengths,
    dense_table,
    wide_tables,
)
from draftproof.kernels.calling import KernelError, named
from draftproof.kernels.contract import RandomSource, Shape
from draftproof.kernels.examination import TOLERANCES, Examination
from draftproof.kernels.judge import rule_law
from draftproof.kernels.law_checks import law_finding, sampled_finding
from draftproof.kernels.laws import Measured, largest_gap, measure
from draftproof.kernels.sampling import given_draft
from draftproof.kernels.tables import DraftTable

VOCABULARIES = (8, 1000, 32_000, 50_257, 152_064)
DENSE, DENSE_ONE_BY_ONE = 2600, 200
"""Ids of the table on which every id is possible; fewer where a call holds one row."""

_DENSE_ROWS, _FEW_DENSE_ROWS = 16_384, 2000

_NO_RULE = Finding(
    status=Status.NOT_AVAILABLE,
    lines=("no rule is declared: only the emitted tokens are judged",),
)


def vocabularies(examination: Examination) -> Finding:
    """The law is the rule's whatever the vocabulary: padded ids, its ends, and many likely ids."""
    if examination.facts.rule == "any":
        return _NO_RULE
    dense, rejected = _dense(examination)
    if rejected is not None:
        return rejected
    measured: list[Measured] = []
    rows = 0
    for size in VOCABULARIES:
        tables = wide_tables(examination.facts, size)
        if not examination.exact:
            few = 400 if size > 10_000 else 8000
            alpha = examination.alpha / (len(VOCABULARIES) + 1)
            found = given_draft(
                examination.kernel, examination.facts, tables, rows=few, alpha=alpha
            )
            rows += found.evidence.rows
            if found.evidence.rejects:
                finding = sampled_finding(examination, found, True)
                return replace(
                    finding, lines=(f"with {size} ids: {finding.lines[0]}", *finding.lines[1:])
                )
            continue
        part, failing = _confirmed(examination, tables)
        if failing:
            finding = law_finding(examination, part, failing)
            return replace(
                finding, lines=(f"with {size} ids: {finding.lines[0]}", *finding.lines[1:])
            )
        measured.append(part)
    places = sum(part.boundaries for part in measured) or rows
    return Finding(
        status=Status.PASSED if places else Status.NOT_TRIED,
        n=len(VOCABULARIES),
        places=places,
        place="boundaries of coins" if measured else "rows",
        lines=(f"vocabularies of {', '.join(map(str, VOCABULARIES))} ids", dense),
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
    """Drafts of 0 to 16 tokens in one batch each follow the rule's law."""
    facts = examination.facts
    if facts.shape is Shape.TREE or not facts.ragged:
        return Finding(status=Status.NOT_AVAILABLE, lines=("all rows are of one length",))
    if facts.rule == "any":
        return _NO_RULE
    if examination.exact:
        return _exact(examination, chains_of_several_lengths(facts, seed=examination.seed))
    tables = chains_of_all_lengths(facts, range(17), seed=examination.seed, copies=2)
    rows = max(50_000, examination.rows // 10)
    found = given_draft(
        examination.kernel, facts, tables, rows=rows, alpha=examination.alpha, seed=examination.seed
    )
    return sampled_finding(examination, found, True)


def greedy_rows(examination: Examination) -> Finding:
    """Greedy rows among sampled ones emit the target's argmax and nothing else."""
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
    if examination.exact:
        return _exact(examination, tables, note)
    found = given_draft(
        examination.kernel,
        facts,
        tables,
        rows=max(20_000, examination.rows // 20),
        alpha=examination.alpha,
        seed=examination.seed,
    )
    return sampled_finding(examination, found, True)


def half_precision(examination: Examination) -> Finding:
    """In bfloat16 and float16 the law is the rule's within the rounding of those."""
    facts = examination.facts
    if facts.rule == "any":
        return _NO_RULE
    if facts.randomness is not RandomSource.UNIFORMS:
        return Finding(
            status=Status.NOT_AVAILABLE, lines=("it draws by itself; give --dtype to test it so",)
        )
    places, notes = 0, []
    for dtype in ("bfloat16", "float16"):
        other = replace(facts, dtype=dtype)
        tables = [table for table in examination.tables if len(table) == min(2, len(table))][:60]
        same_form = [table for table in tables if table.parents == tables[0].parents]
        try:
            found = measure(examination.kernel, other, same_form)
        except KernelError as error:
            notes.append(f"{dtype}: {error}")
            continue
        places += found.boundaries
        for table, law in zip(found.tables, found.laws, strict=True):
            gap = largest_gap(rule_law(facts.rule, table), law)
            if gap > TOLERANCES[dtype]:
                return Finding(
                    status=Status.FAILED,
                    n=len(same_form),
                    places=places,
                    place="boundaries of coins",
                    lines=(
                        f"{dtype}: the law on fixture '{table.name}', draft "
                        f"{named(table, table.tokens)} is off by {gap:.3g}, which exceeds "
                        f"{TOLERANCES[dtype]:g}",
                    ),
                )
    return Finding(
        status=Status.PASSED if places else Status.NOT_AVAILABLE,
        places=places,
        n=places,
        place="boundaries of coins",
        lines=(
            f"to {TOLERANCES['bfloat16']:g} in bfloat16 and {TOLERANCES['float16']:g} in float16",
            *notes,
        ),
    )


def _exact(examination: Examination, tables: list[DraftTable], *notes: str) -> Finding:
    measured, failing = _confirmed(examination, tables)
    return law_finding(examination, measured, failing, *notes)


def _confirmed(examination: Examination, tables: list[DraftTable]) -> tuple[Measured, list[int]]:
    """The laws on some tables in one batch, and which are wrong after a closer look, too."""
    kernel, facts = examination.kernel, examination.facts
    measured = measure(kernel, facts, tables)
    failing = _failing(examination, measured)
    if failing and not measured.restless:
        longest = max(len(table) for table in tables)
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
