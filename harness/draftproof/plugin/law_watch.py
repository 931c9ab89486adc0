"""The anytime-valid test as a run goes on: watched at every case, decided when it ends."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from draftproof.trace import CaseRecord

if TYPE_CHECKING:
    from draftproof.lossless.evidence.verdict import LawCertificate, Trial


class LawWatch:
    """Adds up the evidence of one case after another, and says when it rejects the engine.

    The evidence of cases multiplies, so the test may be looked at after each of them. Processes of
    pytest-xdist see a part each: there only the decision at the end counts.

    Args:
        alpha: The most probable that a lossless engine is rejected; 0 watches nothing.
        before: Cases of an earlier session of the same run.
    """

    def __init__(self, alpha: float, before: Iterable[CaseRecord] = ()) -> None:
        is_part = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1
        self._alpha = 0.0 if is_part else alpha
        self._trial: Trial | None = None
        self._seen: set[str] = set()
        self._before = list(before)

    def add(self, record: CaseRecord) -> str:
        """Why the run so far rejects the engine, with this case; empty if it does not."""
        if not self._alpha or not _is_sampled(record):
            return ""
        from draftproof.lossless.evidence.verdict import Trial

        if self._trial is None:
            self._trial = Trial(self._alpha)
            for case in self._before:
                self._count(self._trial, case)
        self._count(self._trial, record)
        if not rejects(self._trial.verdict):
            return ""
        found = self._trial.certificate
        faults = "; ".join(
            f"{pointer.name} ({pointer.scope}, weight {pointer.weight:.2f})"
            for pointer in found.pointers
        )
        after = found.declared.tokens_to_peak
        e_value = (
            f"{found.declared.impossible} tokens of probability 0 were emitted"
            if found.declared.impossible
            else f"e-value 10^{found.declared.peak / math.log(10):.1f}"
        )
        return (
            f"the tokens of this run do not follow the target's law: {found.verdict} after {after} "
            f"tokens ({e_value}, α = {self._alpha:g}; plain decoding is not rejected)\n"
            f"  the evidence points to: {faults}"
        )

    def _count(self, trial: Trial, record: CaseRecord) -> None:
        if record.case_id not in self._seen and _is_sampled(record):
            self._seen.add(record.case_id)
            count(trial, record)


def rejects(verdict: str) -> bool:
    """Whether speculation is at fault, and not numerics or settings."""
    return str(verdict) in ("output differs", "acceptance differs")


def count(trial: Trial, record: CaseRecord) -> None:
    """Add the evidence of both outputs of a case.

    Raises:
        TraceError: It was stored by a version with other alternatives.
    """
    from draftproof.lossless.evidence.process import Evidence

    assert record.evidence is not None
    assert record.control is not None
    trial.add(Evidence.from_json(record.evidence))
    trial.add_control(Evidence.from_json(record.control))


def _is_sampled(record: CaseRecord) -> bool:
    return record.evidence is not None and record.control is not None


def decision(cases: Iterable[CaseRecord], alpha: float) -> LawCertificate | None:
    """The decision on some cases, in their order; None where none was sampled.

    Args:
        cases: Each with the evidence of both outputs, or without any.
        alpha: The most probable that a lossless engine is rejected; 0 for no test.
    """
    sampled = [case for case in cases if _is_sampled(case)]
    if not sampled or not alpha:
        return None
    from draftproof.lossless.evidence.verdict import Trial

    trial = Trial(alpha)
    for case in sampled:
        count(trial, case)
    return trial.certificate
