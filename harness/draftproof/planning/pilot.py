"""What a plan takes from a pilot run: sums, seconds, failures and sizes, by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from draftproof.engines.names import AT_ONCE
from draftproof.errors import UsageError, unknown_value
from draftproof.gate.measured import MeasuredRun, measured_run
from draftproof.report.reading import load_run
from draftproof.statistics.summary import in_domain_order
from draftproof.trace import CaseRecord, DecodedOutput, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """A run that a larger one is planned from.

    Attributes:
        measured: Its per-prompt sums.
        again: Those of a second run of the same prompts; None where there is none.
        domains: The domains that are planned, in the order of reports.
        seconds: By domain, float64 ``[cases]``: seconds of one GPU (or whatever the pilot ran on)
            that each case took, plainly and speculatively. Empty where they are not known.
        nodes: Drafted nodes a prompt, over all domains planned.
        file_bytes: Bytes on disk a prompt; NaN where the run has no Parquet files.
        at_once: Prompts that the pilot decoded at once.
        available: By domain, how many prompts its data has, where the run says so.
        lost_seconds: Seconds after which the pilot's engine would have been given up.
    """

    measured: MeasuredRun
    again: MeasuredRun | None
    domains: tuple[str, ...]
    seconds: dict[str, np.ndarray]
    nodes: float
    file_bytes: float
    at_once: int
    available: dict[str, int] = field(default_factory=dict)
    lost_seconds: float = 600.0

    def errors(self, domain: str) -> int:
        """How many of the domain's cases ended in an error."""
        return sum(own == domain for own in self.measured.errors.values())

    def failing_share(self, domain: str) -> float:
        """The share of cases that are expected to end in an error: (errors + ½) ÷ (cases + 1).

        None of a few does not mean none of many; this is the mean under Jeffreys's prior.
        """
        errors = self.errors(domain)
        return (errors + 0.5) / (self.measured.domains.count(domain) + errors + 1)


def read_pilot(folder: Path, again: Path | None = None, domains: Sequence[str] = ()) -> Pilot:
    """The pilot in the folder of a saved run, or in the journal of one that was killed.

    Args:
        folder: Of the run.
        again: Of a second run of the same prompts: other seeds, or the change that is planned for.
        domains: Those to plan; all if there are none.

    Raises:
        TraceError: There is no run to read.
        UsageError: A domain is not in the run, or the two runs have no case in common.
    """
    saved = load_run(folder)
    measured = measured_run(saved.run.name, saved.run, saved.cases, saved.texts)
    present = in_domain_order(measured.domains)
    for domain in domains:
        if domain not in present:
            raise unknown_value("--domain", domain, present)
    planned = tuple(domain for domain in present if not domains or domain in domains)
    second = None
    if again is not None:
        other = load_run(again)
        second = measured_run(other.run.name, other.run, other.cases, other.texts)
        if not set(measured.case_ids) & set(second.case_ids):
            raise UsageError(
                f"--again: {again} has no case in common with {folder}; give a second run of the "
                "same prompts"
            )
    chosen = [case for case in saved.cases if case.domain in planned]
    files = [path.stat().st_size for path in saved.directory.glob("*.parquet")]
    inside = np.array([domain in planned for domain in measured.domains], bool)
    drafted = measured.totals["drafted"][inside]
    engine = saved.run.models.get("engine", {})
    return Pilot(
        measured=measured,
        again=second,
        domains=planned,
        seconds={domain: _seconds(chosen, domain) for domain in planned},
        nodes=float(drafted.mean()) if len(drafted) else float("nan"),
        file_bytes=sum(files) / len(saved.cases) if files and saved.cases else float("nan"),
        at_once=int(engine.get(AT_ONCE, 1)),
        available={
            domain: int(facts["available"])
            for domain, facts in saved.run.data.items()
            if facts.get("available")
        },
        lost_seconds=float(saved.run.config.get("engine_timeout") or 600.0),
    )


def _seconds(cases: Sequence[CaseRecord], domain: str) -> np.ndarray:
    """``[cases]`` what each case of a domain took; empty unless every one tells."""
    found = []
    for case in cases:
        if case.domain != domain or case.verdict is Verdict.ERROR:
            continue
        known = [_of(output) for output in (case.plain, case.speculative) if output is not None]
        if not known or sum(known) <= 0:
            return np.empty(0)
        found.append(sum(known))
    return np.array(found)


def _of(output: DecodedOutput) -> float:
    """Seconds of an output, with those of its call that the engine does not tell."""
    return output.seconds + max(0.0, output.untold_seconds or 0.0)
