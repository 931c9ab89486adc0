"""What was found of a kernel, as text for the terminal, as Markdown and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from draftproof.conformance.check_result import Status
from draftproof.conformance.examined import Examined, failed, outcome
from draftproof.kernels.contract import KernelFacts

SCHEMA_VERSION = 1
"""Raised whenever a key of the JSON form changes its name, its type or its meaning."""

_MARKS = {
    Status.PASSED: "✓",
    Status.FAILED: "✗",
    Status.NOT_TRIED: "?",
    Status.NOT_AVAILABLE: "–",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelReport:
    """What was found of a kernel.

    Attributes:
        name: ``module:function``.
        facts: What is declared of it.
        checks: In order.
        alpha: Of each sequential test.
        command: What made it.
        versions: Of whatever can move a number.
        hardware: Facts of the machine.
    """

    name: str
    facts: KernelFacts
    checks: tuple[Examined, ...]
    alpha: float
    command: str
    versions: dict[str, str]
    hardware: dict[str, Any]

    @property
    def failed(self) -> tuple[Examined, ...]:
        """The checks that found a fault."""
        return failed(self.checks)


def result_line(check: Examined) -> str:
    """A check in a line, with the lines that explain it below."""
    finding = check.finding
    amount = f"{finding.places:,} {finding.place}" if finding.places else ""
    head = f"{_MARKS[finding.status]} {check.name:<26} {finding.status:<14} {amount}".rstrip()
    below = [f"    {part}" for line in finding.lines for part in line.splitlines()]
    return "\n".join([head, *below])


def terminal_summary(report: KernelReport) -> str:
    """The last lines that a verification prints."""
    seconds = sum(check.seconds for check in report.checks)
    return "\n".join(
        [
            outcome(report.checks),
            f"kernel: {report.name}, {_declared(report.facts)}",
            f"a right kernel fails a test by counting with probability {report.alpha:g} at most; "
            "a law that was computed is no matter of chance",
            f"{seconds:.1f} s; versions: {_pairs(report.versions)}",
        ]
    )


def markdown(report: KernelReport) -> str:
    """The report as a page that can be committed or posted."""
    rows = ["| check | what must hold | result | examined |", "|---|---|---|---:|"]
    details = []
    for check in report.checks:
        finding = check.finding
        amount = f"{finding.places:,} {finding.place}" if finding.places else ""
        rows.append(
            f"| {check.name} | {check.claim} | {_MARKS[finding.status]} {finding.status} | "
            f"{amount} |"
        )
        if finding.lines:
            text = "\n".join(finding.lines)
            details.append(f"**{check.name}**: {finding.status}\n\n```\n{text}\n```")
    return (
        "\n\n".join(
            [
                f"# Kernel: {report.name}",
                f"**{outcome(report.checks)}**",
                "\n".join(rows),
                *details,
                "\n".join(
                    [
                        f"- declared: {_declared(report.facts)}",
                        f"- α of a test by counting: {report.alpha:g}",
                        f"- versions: {_pairs(report.versions)}",
                        f"- hardware: {_pairs(report.hardware)}",
                        f"- made by `{report.command}`",
                    ]
                ),
            ]
        )
        + "\n"
    )


def json_document(report: KernelReport) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kernel": report.name,
        "declared": {
            name: getattr(report.facts, name)
            for name in KernelFacts.__dataclass_fields__
            if name != "coins"
        },
        "faults_found": len(report.failed),
        "checks": [
            {
                "name": check.name,
                "claim": check.claim,
                "status": str(check.finding.status),
                "places": check.finding.places,
                "place": check.finding.place,
                "lines": list(check.finding.lines),
                "facts": _plain(check.finding.facts),
                "seconds": round(check.seconds, 3),
            }
            for check in report.checks
        ],
        "alpha": report.alpha,
        "versions": report.versions,
        "hardware": report.hardware,
        "command": report.command,
    }


def _plain(value: Any) -> Any:
    """NaN as None, as JSON has it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value


def _declared(facts: KernelFacts) -> str:
    return (
        f"shape {facts.shape}, rule {facts.rule}, {facts.proposals} drafts, randomness "
        f"{facts.randomness}, {facts.dtype} on {facts.device}"
    )


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())
