"""What the evidence of a run says: one decision at level α, with its control and its power."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from draftproof.errors import UsageError
from draftproof.lossless.evidence.alternatives import ALTERNATIVES, DRAFTS_LAW, STATED_FAULTS
from draftproof.lossless.evidence.decision import (
    VIEWED,
    VIEWS,
    Pointer,
    Reading,
    View,
    impossible_tokens,
    log_e_value,
    pointers,
    power_thresholds,
)
from draftproof.lossless.evidence.observation import STREAMS, Stream
from draftproof.lossless.evidence.power import smallest_contamination
from draftproof.lossless.evidence.process import Evidence

ALPHA = 1e-4
"""By default, the most probable that a lossless engine is rejected."""

POWER = 0.95
"""The probability that the stated contamination would have been caught with."""


class LawVerdict(StrEnum):
    """What the anytime-valid test says of an engine."""

    CONSISTENT = "consistent"
    """Not rejected: no fault larger than the stated contamination is likely."""
    OUTPUT = "output differs"
    """Tokens do not follow the target's law."""
    ACCEPTANCE = "acceptance differs"
    """Tokens may follow the target's law, but are kept in another way than declared: another rule,
    or another draft law than was scored."""
    SETTINGS = "settings differ"
    """Plain decoding is rejected: numerics or settings differ, and nothing is said of
    speculation, whether it is rejected too or not."""
    NOT_TESTED = "not tested"
    """There was no token to judge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LawTest:
    """The test of one reading.

    Attributes:
        log_e: Logarithm of the e-value over all tokens, in nats.
        peak: The largest after any case, in the order of the cases; at least 0. Rejected if it
            reaches log(1/α).
        cases_to_peak: After how many cases it was first rejected; None if it was not.
        tokens_to_peak: After how many tokens, counted to the end of that case.
        impossible: Tokens of probability 0.
    """

    log_e: float
    peak: float
    cases_to_peak: int | None
    tokens_to_peak: int | None
    impossible: int

    @property
    def rejected(self) -> bool:
        """Whether log(1/α) was reached."""
        return self.cases_to_peak is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LawCertificate:
    """The decision and everything that it rests on.

    Attributes:
        verdict: The decision.
        alpha: The most probable that a lossless engine is rejected.
        declared: The test of tokens and, where the engine tells, of how often they are kept: the
            average of the e-values of both views, in pairs and alone.
        output: The test of the tokens alone.
        control: The test of plain decoding; None where it was not run.
        tokens: Tokens judged, by stream.
        doubtful: Tokens that are not judged: rounding decides whether they pass a filter.
        pointers: The faults that the evidence points to. A hint, not a test of its own.
        contamination: The smallest share of the draft's law in place of the target's that would
            have been caught with probability `POWER` on these contexts, under the tolerance that
            the evidence was taken with; None if there is none.
        power: The same of every stated fault by its name, the draft's law among them: at which
            share of positions it would have been caught. None where it would not have been at all.
        allowance: ε in nats: if every probability of the target were off by a factor of up to
            exp(ε) in either direction, the output would be rejected all the same. None if it is not
            rejected, infinite after a token of probability 0.
    """

    verdict: LawVerdict
    alpha: float
    declared: LawTest
    output: LawTest
    control: LawTest | None
    tokens: Mapping[Stream, int]
    doubtful: int
    pointers: tuple[Pointer, ...]
    contamination: float | None
    power: Mapping[str, float | None]
    allowance: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; an infinite e-value is null beside ``impossible > 0``."""
        return {
            "verdict": str(self.verdict),
            "alpha": self.alpha,
            **{
                name: None
                if test is None
                else {
                    "log10_e": _finite(test.log_e / math.log(10)),
                    "log10_peak": _finite(test.peak / math.log(10)),
                    "rejected_after_cases": test.cases_to_peak,
                    "rejected_after_tokens": test.tokens_to_peak,
                    "impossible": test.impossible,
                }
                for name, test in (
                    ("declared", self.declared),
                    ("output", self.output),
                    ("control", self.control),
                )
            },
            "tokens": {str(stream): count for stream, count in self.tokens.items()},
            "doubtful": self.doubtful,
            "pointers": [
                {"fault": p.name, "scope": p.scope, "weight": p.weight} for p in self.pointers
            ],
            "contamination": self.contamination,
            "power": dict(self.power),
            "allowance": _finite(self.allowance),
        }


class Trial:
    """The test of an engine while its cases come in.

    Args:
        alpha: The most probable that a lossless engine is rejected.
        has_control: Whether plain decoding by the same engine is judged beside it.

    Raises:
        UsageError: α is not a probability between 0 and 1.
    """

    def __init__(self, alpha: float = ALPHA, *, has_control: bool = True) -> None:
        if not 0 < alpha < 1:
            raise UsageError(f"alpha is {alpha}; it is a probability between 0 and 1")
        self._alpha = alpha
        self._declared = _RunningTest(Reading.DECLARED, alpha)
        self._output = _RunningTest(Reading.OUTPUT, alpha)
        self._control = _RunningTest(Reading.OUTPUT, alpha) if has_control else None

    def add(self, case: Evidence) -> None:
        """Count a case under speculation.

        Cases come in an order that does not depend on what was measured, such as the prompts'.
        """
        self._declared.add(case)
        self._output.add(case)

    def add_control(self, case: Evidence) -> None:
        """Count a case that the same engine decoded plainly; it is judged at the same α."""
        assert self._control is not None, "the trial was begun without a control"
        self._control.add(case)

    @property
    def verdict(self) -> LawVerdict:
        """The decision on the cases so far."""
        if self._control is not None and self._control.found.rejected:
            return LawVerdict.SETTINGS
        if not self._declared.total.total_tokens:
            return LawVerdict.NOT_TESTED
        if not self._declared.found.rejected:
            return LawVerdict.CONSISTENT
        return LawVerdict.OUTPUT if self._output.found.rejected else LawVerdict.ACCEPTANCE

    @property
    def is_decided(self) -> bool:
        """Whether more cases would change nothing: speculation is rejected.

        Where plain decoding alone is, more cases show whether speculation is, too.
        """
        return self._declared.found.rejected

    @property
    def certificate(self) -> LawCertificate:
        """The decision on the cases so far, and everything that it rests on."""
        total, alpha = self._declared.total, self._alpha
        power = {index: _smallest_share(total, index, alpha) for index in STATED_FAULTS}
        output = self._output.found
        return LawCertificate(
            verdict=self.verdict,
            alpha=alpha,
            declared=self._declared.found,
            output=output,
            control=None if self._control is None else self._control.found,
            tokens={
                stream: int(count)
                for stream, count in zip(STREAMS, total.tokens, strict=True)
                if count and stream is not Stream.DRAFTED_TOKEN
            },
            doubtful=max(
                int(_viewed(total.doubtful, view).sum()) for view in VIEWS[Reading.DECLARED]
            ),
            pointers=pointers(total, Reading.DECLARED) if total.total_tokens else (),
            contamination=power[DRAFTS_LAW],
            power={ALTERNATIVES[index].name: share for index, share in power.items()},
            allowance=_allowance(output, total, alpha),
        )


def judge(
    cases: Iterable[Evidence],
    *,
    control: Iterable[Evidence] | None = None,
    alpha: float = ALPHA,
) -> LawCertificate:
    """The decision on an engine.

    Args:
        cases: One a prompt, in an order that does not depend on what was measured (that of the
            prompts), whichever process measured it.
        control: The same of plain decoding by the same engine, judged at the same α.
        alpha: The most probable that a lossless engine is rejected.

    Returns:
        `LawVerdict.OUTPUT` if the declared reading and the output's are both rejected, and
        `LawVerdict.ACCEPTANCE` if only the declared one is. Since the declared hypothesis implies
        the output's, testing the second only after the first keeps the probability of any false
        statement below α (closed testing, Marcus et al. 1976).

    Raises:
        UsageError: α is not a probability between 0 and 1.
    """
    trial = Trial(alpha, has_control=control is not None)
    for case in cases:
        trial.add(case)
    for case in control or ():
        trial.add_control(case)
    return trial.certificate


class _RunningTest:
    """The test of one reading while cases come in."""

    def __init__(self, reading: Reading, alpha: float) -> None:
        self._reading, self._threshold = reading, -math.log(alpha)
        self._cases = 0
        self.total = Evidence.none()
        self.found = LawTest(
            log_e=0.0, peak=0.0, cases_to_peak=None, tokens_to_peak=None, impossible=0
        )

    def add(self, case: Evidence) -> None:
        self._cases += 1
        self.total = self.total + case
        log_e = log_e_value(self.total, self._reading)
        first, tokens = self.found.cases_to_peak, self.found.tokens_to_peak
        if first is None and log_e >= self._threshold:
            first, tokens = self._cases, self.total.total_tokens
        self.found = LawTest(
            log_e=log_e,
            peak=max(self.found.peak, log_e),
            cases_to_peak=first,
            tokens_to_peak=tokens,
            impossible=impossible_tokens(self.total, self._reading),
        )


def _smallest_share(total: Evidence, alternative: int, alpha: float) -> float | None:
    """The smallest share of a stated fault that either view of the tokens would have caught."""
    row = STATED_FAULTS.index(alternative)
    thresholds = power_thresholds(alpha, alternative)[1:]
    shares = [
        smallest_contamination(_viewed(total.moments, view)[:, row].sum(axis=0), thresholds, POWER)
        for view in VIEWS[Reading.DECLARED]
    ]
    return min((share for share in shares if share is not None), default=None)


def _allowance(test: LawTest, total: Evidence, alpha: float) -> float | None:
    """The largest ε at which E exp(−ε n) still reaches 1/α after n tokens.

    If the law of each token is at most exp(ε) p, then E[a/p] ≤ exp(ε), for a share λ of it as well:
    E exp(−ε n) is a supermartingale whatever the law is exactly.
    """
    if not test.rejected or test.log_e < -math.log(alpha):
        return None
    return (test.log_e + math.log(alpha)) / total.total_tokens


def _viewed(values: np.ndarray, view: View) -> np.ndarray:
    rows: np.ndarray = values[[STREAMS.index(stream) for stream in VIEWED[view]]]
    return rows


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
