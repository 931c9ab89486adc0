"""Checks of a kernel's law: given the draft, over drafts, at the ends of coins, and by counting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.calling import named
from draftproof.kernels.contract import RandomSource
from draftproof.kernels.diagnosis import NEAR, Suspect, discrepancy, suspect
from draftproof.kernels.draw_checks import dependence
from draftproof.kernels.evidence import smallest_share
from draftproof.kernels.examination import Examination
from draftproof.kernels.faults import NAMES, fault_laws
from draftproof.kernels.judge import EmittedLaw, rule_law
from draftproof.kernels.laws import Measured, largest_gap
from draftproof.kernels.regression import (
    fails_counted,
    fails_exactly,
    pasteable,
    smallest,
)
from draftproof.kernels.sampling import Sampled, completed, given_draft
from draftproof.kernels.tables import DraftTable

NO_UNIFORMS = Finding(
    status=Status.NOT_AVAILABLE,
    lines=("the kernel draws by itself; give it its uniforms for an exact law",),
)

_BLAMED = 40
"""Failing tables that are looked at closely and compared with the named faults, at most."""

_SHOWN = 4
"""Problems of one kind that are told; the others are counted."""


def exact_law(examination: Examination) -> Finding:
    """Given each draft, the law of what is emitted is the rule's, computed boundary by boundary."""
    if not examination.exact:
        return NO_UNIFORMS
    if examination.facts.rule == "any":
        return Finding(
            status=Status.NOT_AVAILABLE,
            lines=("no rule is declared: only the emitted tokens are judged",),
        )
    measured = examination.measured
    failing = wrong_tables(examination, measured)
    if failing:
        # What was not found by a coarse search must not count as a fault.
        failing = _smallest_and_others(failing, measured)
        again = examination.measure([measured.tables[index] for index in failing], fine=6)
        still = set(wrong_tables(examination, again))
        failing = [index for place, index in enumerate(failing) if place in still]
    return law_finding(examination, measured, failing)


def _smallest_and_others(failing: Sequence[int], measured: Measured) -> list[int]:
    """Half of those to be looked at are the smallest ones; the others are of all sizes."""
    ordered = sorted(failing, key=lambda index: measured.tables[index].size)
    small, others = ordered[: _BLAMED // 2], ordered[_BLAMED // 2 :]
    return [*small, *others[:: max(1, -(-2 * len(others) // _BLAMED))]]


def wrong_tables(examination: Examination, measured: Measured) -> list[int]:
    """Indices of tables whose law is not the rule's, or on which a row has a wrong form."""
    rule, form = examination.facts.rule, {index for index, _ in measured.malformed}
    return [
        index
        for index, (table, law) in enumerate(zip(measured.tables, measured.laws, strict=True))
        if index not in measured.unresolved
        and (index in form or largest_gap(rule_law(rule, table), law) > examination.tolerance)
    ]


def law_finding(
    examination: Examination, measured: Measured, failing: Sequence[int], *notes: str
) -> Finding:
    """What exact laws say: where they are wrong, what that points to, and a test of it."""
    facts, tables = examination.facts, measured.tables
    if measured.restless:
        return Finding(
            status=Status.FAILED,
            n=len(tables),
            places=len(tables),
            place="tables",
            lines=(
                "what a row emits is no function of its own laws and uniforms: the same rows in "
                "another order emit other tokens",
                *([] if examination.chance.problem is None else [examination.chance.problem]),
            ),
        )
    resolved = len(tables) - len(measured.unresolved)
    lines: list[str] = []
    told: dict[str, object] = {"tables": len(tables), "rows": measured.points}
    if measured.unresolved:
        lines.append(
            f"on {len(measured.unresolved)} of {len(tables)} tables the uniforms do not decide one "
            "at a time, or the same uniforms give other tokens: their law is tested by counting"
        )
    if failing:
        forms = dict(reversed(measured.malformed))
        pairs = [(tables[i], rule_law(facts.rule, tables[i]), measured.laws[i]) for i in failing]
        right = _right_tables(facts.rule, measured, failing)
        lines = [*_blame(examination, pairs, right, forms, failing, told), *lines]
        lines.append(_regression(examination, tables[failing[0]], list(pairs)))
        told["failing_tables"] = len(failing)  # of those that were looked at closely
        return Finding(
            status=Status.FAILED,
            n=resolved,
            places=max(measured.boundaries, 1),
            place="boundaries of coins",
            lines=tuple(lines),
            facts=told,
        )
    if not measured.boundaries:
        return Finding(
            status=Status.NOT_TRIED,
            n=resolved,
            lines=(*lines, "no uniform changed what is emitted on any table"),
        )
    power = exact_power(examination, measured)
    told["smallest_shares"] = power
    if power:
        name = max(power, key=lambda fault: power[fault])
        lines.append(
            f"of {len(power)} named faults each would have shown at a share of {power[name]:.1g} "
            f"of rows or less (the hardest: {name})"
        )
    return Finding(
        status=Status.PASSED,
        n=resolved,
        places=measured.boundaries,
        place="boundaries of coins",
        lines=(*lines, *notes),
        facts=told,
    )


def _blame(
    examination: Examination,
    pairs: list[tuple[DraftTable, EmittedLaw, EmittedLaw]],
    right: list[tuple[DraftTable, EmittedLaw, EmittedLaw]],
    forms: dict[int, str],
    failing: Sequence[int],
    told: dict[str, object],
) -> list[str]:
    lines = []
    gaps = [largest_gap(expected, found) for _, expected, found in pairs]
    worst = int(np.argmax(gaps))
    table, expected, found = pairs[worst]
    ill = next((i for i in failing if i in forms), None)
    if ill is not None:
        lines.append(f"{forms[ill]} ({_shown(examination.measured.tables[ill], ill, forms)})")
    where = discrepancy(table, expected, found)
    if gaps[worst] <= examination.tolerance:
        return [*lines, f"rows of {len(failing)} tables have a wrong form; the law is right"]
    if where is not None:
        told["site"], told["position"] = str(where.site), where.position
        lines.append(
            f"site: {where.site}, position {where.position}: {where.what} "
            f"(fixture '{table.name}', draft {named(table, table.tokens)}; the largest difference "
            f"of {gaps[worst]:.3g} exceeds {examination.tolerance:g})"
        )
    # A fault that would show where the law is right is not the one.
    found_fault = suspect(examination.facts.rule, [*pairs[:_BLAMED], *right])
    _tell(examination, found_fault, told)
    if ill is None or found_fault.explained >= NEAR:
        lines.append(f"{found_fault.sentence} (by {len(failing)} tables that differ)")
    return lines


def _right_tables(
    rule: str, measured: Measured, failing: Sequence[int]
) -> list[tuple[DraftTable, EmittedLaw, EmittedLaw]]:
    """Some of the tables whose law is right, with that law, spread over all of them."""
    wrong = {*failing, *measured.unresolved, *(index for index, _ in measured.malformed)}
    found = []
    for index in range(0, len(measured.tables), max(1, len(measured.tables) // (3 * _BLAMED))):
        if index in wrong:
            continue
        expected = rule_law(rule, measured.tables[index])
        if largest_gap(expected, measured.laws[index]) < 1e-5:
            found.append((measured.tables[index], expected, expected))
    return found[: 2 * _BLAMED]


def _shown(table: DraftTable, index: int, forms: dict[int, str]) -> str:
    return f"fixture '{table.name}', draft {named(table, table.tokens)}"


def _tell(examination: Examination, fault: Suspect, told: dict[str, object]) -> None:
    told["suspect"], told["suspect_explains"] = fault.name, round(fault.explained, 6)
    if fault.explained >= 0.9:
        examination.suspected.append(fault.name)


def _regression(
    examination: Examination,
    first: DraftTable,
    pairs: list[tuple[DraftTable, EmittedLaw, EmittedLaw]],
) -> str:
    tolerance = examination.tolerance
    fails = fails_exactly(examination.kernel, examination.facts, tolerance)
    start = min((table for table, _, _ in pairs), key=lambda table: table.size, default=first)
    small = smallest(start, fails)
    return "the smallest table that shows it:\n" + test_of(examination, small)


def test_of(examination: Examination, table: DraftTable) -> str:
    """A regression test of a table with what was declared of the kernel."""
    facts = examination.facts
    given: dict[str, object] = {
        "rule": facts.rule,
        "randomness": facts.randomness,
        "dtype": facts.dtype,
    }
    if facts.shape != "chain":
        given = {"shape": facts.shape, **given}
    return pasteable(table, examination.name, given)


test_of.__test__ = False  # type: ignore[attr-defined]


def exact_power(examination: Examination, measured: Measured) -> dict[str, float]:
    """By named fault, the smallest share of rows at which an exact law would have shown it."""
    rule = examination.facts.rule
    gaps = dict.fromkeys(NAMES, 0.0)
    for index, table in enumerate(measured.tables):
        if index in measured.unresolved:
            continue
        null = rule_law(rule, table)
        for name, law in fault_laws(rule, table).items():
            gaps[name] = max(gaps[name], largest_gap(null, law))
    return {
        name: min(1.0, examination.tolerance / gap)
        for name, gap in gaps.items()
        if gap > examination.tolerance
    }


def counted_law(examination: Examination) -> Finding:
    """Rows of every table mixed in one batch follow the law, by a test that may stop early."""
    measured = examination.measured if examination.exact else None
    if measured is not None and not measured.unresolved:
        return Finding(
            status=Status.NOT_AVAILABLE, lines=("its law was computed; nothing needs counting",)
        )
    chance = examination.chance
    if chance.constant or chance.seeded:
        # Repeated draws are no sample: whatever fault they looked like would be a wrong name.
        return Finding(
            status=Status.FAILED,
            lines=(
                f"its rows are not drawn anew, so that their law is not counted: {chance.problem}",
            ),
        )
    return sampled_finding(examination, *sampled(examination))


def sampled(examination: Examination, rows: int = 0) -> tuple[Sampled, bool]:
    """The sequential test of a kernel, and whether it judged emissions given the draft."""
    rows = rows or examination.rows
    facts, alpha = examination.facts, examination.alpha
    if facts.rule == "any":
        found = completed(
            examination.kernel,
            facts,
            examination.drafts,
            rows=rows,
            alpha=alpha,
            seed=examination.seed,
        )
        return found, False
    found = given_draft(
        examination.kernel, facts, examination.tables, rows=rows, alpha=alpha, seed=examination.seed
    )
    return found, True


def sampled_finding(examination: Examination, found: Sampled, given: bool) -> Finding:
    """What the sequential test says."""
    evidence = found.evidence
    told: dict[str, object] = {
        "rows": evidence.rows,
        "log_e_value": min(evidence.value, 1e300),
        "alpha": evidence.alpha,
    }
    lines: list[str] = []
    failed = evidence.rejects
    if found.malformed is not None:
        index, problem = found.malformed
        table = found.tables[index]
        lines.append(
            f"{problem} (fixture '{table.name}', draft {named(table, table.tokens)}): one such row "
            "is proof"
        )
    elif failed:
        lines.append(
            f"after {evidence.rows:,} rows the e-value is 10^{evidence.value / np.log(10):.1f}: a "
            f"right kernel reaches 10^{evidence.bar / np.log(10):.1f} with probability "
            f"{evidence.alpha:g} at most"
        )
        lines += _sampled_blame(examination, found, given, told)
    else:
        power = sampled_power(found)
        told["smallest_shares"] = power
        seen = {name: share for name, share in power.items() if share == share}
        unseen = len(power) - len(seen)
        if seen:
            name = max(seen, key=lambda fault: seen[fault])
            lines.append(
                f"{len(seen)} named faults would have been found with probability .95 at a share "
                f"of {seen[name]:.2g} of rows or less (the hardest: {name}); {unseen} not at all"
            )
    return Finding(
        status=Status.FAILED if failed else Status.PASSED,
        n=evidence.rows,
        places=max(1, evidence.rows),
        place="rows",
        lines=tuple(lines),
        facts=told,
    )


def _sampled_blame(
    examination: Examination, found: Sampled, given: bool, told: dict[str, object]
) -> list[str]:
    evidence, lines = found.evidence, []
    dependent = examination.facts.randomness is not RandomSource.UNIFORMS and bool(
        dependence(examination)[0]
    )
    worst = evidence.worst_table()
    best = evidence.named_best()
    if given:
        table = found.tables[worst]
        expected, seen = rule_law(examination.facts.rule, table), evidence.found(worst)
        where = discrepancy(table, expected, seen)
        if where is not None:
            told["site"], told["position"] = str(where.site), where.position
            lines.append(
                f"site: {where.site}, position {where.position}: {where.what} (fixture "
                f"'{table.name}', draft {named(table, table.tokens)}, "
                f"{int(evidence.counts[worst].sum()):,} rows)"
            )
    if dependent:
        lines.append("rows are not independent (see 'independence'), so that this may be no law")
    elif best is None or best[2] < max(evidence.bar, 0.9 * evidence.unnamed):
        lines.append("none of the named faults explains the rows")
    else:
        told["suspect"] = best[0]
        examination.suspected.append(best[0])
        acting = "" if best[1] == 1 else f", at a share of {best[1]:g}"
        lines.append(f"the rows speak for this fault: {best[0]}{acting}")
    if given:
        lines.append(_counted_regression(examination, found.tables[worst], dependent))
    return lines


def _counted_regression(examination: Examination, table: DraftTable, dependent: bool) -> str:
    """A test of the smallest table on which the rows still speak, which is tried before."""
    fails = fails_counted(examination.kernel, examination.facts)
    # Of rows that are not independent, no number says anything of a law.
    if dependent or not fails(table):
        return "a table that shows it, in many rows:\n" + test_of(examination, table)
    return "the smallest table that shows it:\n" + test_of(examination, smallest(table, fails))


def sampled_power(found: Sampled) -> dict[str, float]:
    """By named fault, the smallest share of rows at which it would have been found; or NaN."""
    evidence = found.evidence
    tests = 3 * len(evidence.names) * 4
    return {
        name: smallest_share(
            evidence.nulls, index, evidence.rows, alpha=evidence.alpha, tests=tests
        )
        for index, name in enumerate(evidence.names)
        if any(np.abs(null.faults[index] - null.law).max() > 1e-3 for null in evidence.nulls)
    }
