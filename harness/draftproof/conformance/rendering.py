"""A certificate as text for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import textwrap
from typing import Any

from draftproof.conformance.check_result import Finding, Status
from draftproof.conformance.examined import Examined, ended, outcome
from draftproof.conformance.kit import Certificate

CERTIFICATE_VERSION = 2
"""Raised whenever a key of the JSON form changes its name, its type or its meaning.

Version 2 added the keys ``not_tried``, ``places`` and ``place`` and the status *not tried*: in
version 1 a check that had examined no place had passed."""

_WIDTH = 110
_SHOWN = 3
_MARKS = {
    Status.PASSED: "✓",
    Status.FAILED: "✗",
    Status.NOT_TRIED: "?",
    Status.NOT_AVAILABLE: "–",
}


def result_line(check: Examined) -> str:
    """A check in a line, with the lines that explain it below."""
    finding = check.finding
    amount = f"{finding.n} outputs" if finding.n else ""
    if finding.numerical:
        amount += f", {finding.numerical} part by rounding"
    head = f"{_MARKS[finding.status]} {check.name:<36} {finding.status:<14} {amount}"
    head = f"{head}: {_examined(finding)}" if amount else head.rstrip()
    lines = [head]
    for line in _shown(finding.lines):
        lines += [
            textwrap.fill(
                part,
                _WIDTH,
                initial_indent="    ",
                subsequent_indent="      ",
                drop_whitespace=False,
                replace_whitespace=False,
            )
            for part in line.splitlines()
        ]
    return "\n".join(lines)


def terminal_summary(certificate: Certificate) -> str:
    """The last lines that a verification prints."""
    return "\n".join(
        [
            outcome(certificate.checks),
            f"engine: {_pairs(certificate.engine)}",
            *(f"{role}: {_model(facts)}" for role, facts in certificate.models.items()),
            f"versions: {_pairs(certificate.versions)}",
            f"hardware: {_pairs(certificate.hardware)}",
        ]
    )


def markdown(certificate: Certificate) -> str:
    """The certificate as a page that can be committed or posted."""
    rows = [
        "| check | what must hold | result | outputs | examined |",
        "|---|---|---|---:|---|",
    ]
    details = []
    for check in certificate.checks:
        finding = check.finding
        rounding = f" ({finding.numerical} part by rounding)" if finding.numerical else ""
        rows.append(
            f"| {check.name} | {check.claim} | {_MARKS[finding.status]} {finding.status} | "
            f"{finding.n or ''}{rounding} | {_examined(finding) if finding.n else ''} |"
        )
        if finding.lines:
            text = "\n".join(_shown(finding.lines))
            details.append(f"**{check.name}**: {finding.status}\n\n```\n{text}\n```")
    environment = terminal_summary(certificate).splitlines()[1:]
    return (
        "\n\n".join(
            [
                f"# Certificate: {certificate.engine.get('name', 'engine')}",
                f"**{outcome(certificate.checks)}**",
                "\n".join(rows),
                *details,
                "\n".join(f"- {line}" for line in [*environment, *_settings(certificate)]),
            ]
        )
        + "\n"
    )


def json_document(certificate: Certificate) -> dict[str, Any]:
    """The certificate as plain JSON values."""
    return {
        "schema_version": CERTIFICATE_VERSION,
        "engine": certificate.engine,
        "models": certificate.models,
        "config": certificate.config,
        "faults_found": len(certificate.failed),
        "not_tried": ended(certificate.checks, Status.NOT_TRIED),
        "checks": [
            {
                "name": check.name,
                "claim": check.claim,
                "status": str(check.finding.status),
                "outputs": check.finding.n,
                "places": check.finding.places,
                "place": check.finding.place,
                "numerical": check.finding.numerical,
                "lines": list(check.finding.lines),
                "facts": check.finding.facts,
                "seconds": round(check.seconds, 3),
            }
            for check in certificate.checks
        ],
        "versions": certificate.versions,
        "hardware": certificate.hardware,
        "command": certificate.command,
    }


def _examined(finding: Finding) -> str:
    """How many places were examined, and of what kind."""
    return f"{finding.places:,} {finding.place}"


def _settings(certificate: Certificate) -> list[str]:
    config = certificate.config
    return [
        f"settings: tree {config['tree']}, rule {config['rule']}, {config['max_new_tokens']} new "
        f"tokens, seed {config['seed']}, α {config['law_alpha']:g}",
        f"made by `{certificate.command}`",
    ]


def _model(facts: dict[str, Any]) -> str:
    return (
        f"{facts.get('name')} ({facts.get('dtype')} on {facts.get('device')}, sha256 "
        f"{str(facts.get('sha256'))[:12]})"
    )


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _shown(lines: tuple[str, ...]) -> list[str]:
    more = len(lines) - _SHOWN
    return [*lines[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
