"""What the evidence of a run says: one decision at level α, with its control and its power."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from draftproof.errors import UsageError
from draftproof.lossless.evidence.alternatives import DRAFTS_LAW
from draftproof.lossless.evidence.decision import (
    READ,
    Pointer,
    Reading,
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
    """Plain decoding is rejected too: numerics or settings differ, and nothing is said of
    speculation."""
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
        declared: The test of tokens and, where the engine tells, of how often they are kept.
        output: The test of the tokens alone.
        control: The test of plain decoding; None where it was not run.
        tokens: Tokens judged, by stream.
        doubtful: Tokens of probability 0 that rounding may have let pass a filter; not judged.
        pointers: The faults that the evidence points to. A hint, not a test of its own.
        contamination: The smallest share of the draft's law in place of the target's that would
            have been caught with probability `POWER` on these contexts; None if there is none.
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
            "allowance": _finite(self.allowance),
        }


def judge(
    cases: Sequence[Evidence],
    *,
    control: Sequence[Evidence] | None = None,
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
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha}; it is a probability between 0 and 1")
    total = sum(cases, Evidence.none())
    declared = _test(cases, Reading.DECLARED, alpha)
    output = _test(cases, Reading.OUTPUT, alpha)
    plain = None if control is None else _test(control, Reading.OUTPUT, alpha)
    return LawCertificate(
        verdict=_verdict(total, declared, output, plain),
        alpha=alpha,
        declared=declared,
        output=output,
        control=plain,
        tokens={
            stream: int(count)
            for stream, count in zip(STREAMS, total.tokens, strict=True)
            if count and stream is not Stream.DRAFTED_TOKEN
        },
        doubtful=int(_read(total.doubtful, Reading.DECLARED).sum()),
        pointers=pointers(total, Reading.DECLARED) if total.total_tokens else (),
        contamination=smallest_contamination(
            _read(total.moments, Reading.DECLARED).sum(axis=0),
            power_thresholds(alpha, DRAFTS_LAW)[1:],
            POWER,
        ),
        allowance=_allowance(output, total, alpha),
    )


def _verdict(
    total: Evidence, declared: LawTest, output: LawTest, control: LawTest | None
) -> LawVerdict:
    if control is not None and control.rejected:
        return LawVerdict.SETTINGS
    if not total.total_tokens:
        return LawVerdict.NOT_TESTED
    if not declared.rejected:
        return LawVerdict.CONSISTENT
    return LawVerdict.OUTPUT if output.rejected else LawVerdict.ACCEPTANCE


def _test(cases: Sequence[Evidence], reading: Reading, alpha: float) -> LawTest:
    total, peak, first, tokens, log_e = Evidence.none(), 0.0, None, None, 0.0
    for index, case in enumerate(cases):
        total = total + case
        log_e = log_e_value(total, reading)
        peak = max(peak, log_e)
        if first is None and log_e >= -math.log(alpha):
            first, tokens = index + 1, total.total_tokens
    return LawTest(
        log_e=log_e,
        peak=peak,
        cases_to_peak=first,
        tokens_to_peak=tokens,
        impossible=int(_read(total.impossible, reading).sum()),
    )


def _allowance(test: LawTest, total: Evidence, alpha: float) -> float | None:
    """The largest ε at which E exp(−ε n) still reaches 1/α after n tokens.

    If the law of each token is at most exp(ε) p, then E[a/p] ≤ exp(ε), for a share λ of it as well:
    E exp(−ε n) is a supermartingale whatever the law is exactly.
    """
    if not test.rejected or test.log_e < -math.log(alpha):
        return None
    return (test.log_e + math.log(alpha)) / total.total_tokens


def _read(values: np.ndarray, reading: Reading) -> np.ndarray:
    rows: np.ndarray = values[[STREAMS.index(stream) for stream in READ[reading]]]
    return rows


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
