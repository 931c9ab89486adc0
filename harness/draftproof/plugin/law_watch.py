"""The anytime-valid test as a run goes on: watched at every case, decided when it ends."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from draftproof.trace import CaseRecord

if TYPE_CHECKING:
    from draftproof.lossless.evidence.verdict import LawCertificate


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
        self._cases = [case for case in before if case.evidence is not None]
        self._seen = {case.case_id for case in self._cases}

    def add(self, record: CaseRecord) -> str:
        """Why the run so far rejects the engine, with this case; empty if it does not."""
        if not self._alpha or record.evidence is None:
            return ""
        if record.case_id not in self._seen:
            self._seen.add(record.case_id)
            self._cases.append(record)
        found = decision(self._cases, self._alpha)
        if found is None or not rejects(found):
            return ""
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


def rejects(found: LawCertificate) -> bool:
    """Whether speculation is at fault, and not numerics or settings."""
    return str(found.verdict) in ("output differs", "acceptance differs")


def decision(cases: Iterable[CaseRecord], alpha: float) -> LawCertificate | None:
    """The decision on some cases, in their order; None where none was sampled.

    Args:
        cases: Each with the evidence of both outputs, or without any.
        alpha: The most probable that a lossless engine is rejected; 0 for no test.
    """
    sampled = [case for case in cases if case.evidence is not None and case.control is not None]
    if not sampled or not alpha:
        return None
    from draftproof.lossless.evidence.process import Evidence
    from draftproof.lossless.evidence.verdict import judge

    return judge(
        [Evidence.from_json(case.evidence) for case in sampled if case.evidence is not None],
        control=[Evidence.from_json(case.control) for case in sampled if case.control is not None],
        alpha=alpha,
    )
