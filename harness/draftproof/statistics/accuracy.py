"""Accuracy: the share of right answers, plainly and speculatively, on the same prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from draftproof.trace import CaseRecord

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of prompts with its 95% interval by Wilson's method.

    Attributes:
        right: Prompts that were answered rightly.
        prompts: All of them; at least 1.
        low: Lower end of the interval.
        high: Upper end.
    """

    right: int
    prompts: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.right / self.prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How many prompts are answered rightly, and how many speculation changed.

    Attributes:
        plain: Of the target's own outputs.
        speculative: Of the outputs of speculation, on the same prompts.
        gained: Prompts that only the speculative output answers rightly.
        lost: Prompts that only the plain output does.
        cut: Prompts of which an output was cut off at the length limit, perhaps before its answer.
    """

    plain: Share
    speculative: Share
    gained: int
    lost: int
    cut: int


def accuracy(cases: Iterable[CaseRecord]) -> Accuracy | None:
    """The accuracy of the cases that were scored; None if none was.

    The interval is Wilson's score interval of a binomial share: each prompt counts once, and the
    prompts are taken for independent draws. It holds for shares near 0 and 1 as well.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 22 (1927).

    Raises:
        ValueError: A score is neither 0 nor 1.
    """
    scored = [
        case
        for case in cases
        if case.plain_score is not None and case.speculative_score is not None
    ]
    if not scored:
        return None
    plain = [case.plain_score for case in scored]
    speculative = [case.speculative_score for case in scored]
    if not set(plain) | set(speculative) <= {0.0, 1.0}:
        raise ValueError("a score is neither 0 nor 1")
    pairs = list(zip(plain, speculative, strict=True))
    return Accuracy(
        plain=_share(plain.count(1.0), len(scored)),
        speculative=_share(speculative.count(1.0), len(scored)),
        gained=pairs.count((0.0, 1.0)),
        lost=pairs.count((1.0, 0.0)),
        cut=sum(
            any(output and output.stop_reason == "length" for output in outputs)
            for outputs in ((case.plain, case.speculative) for case in scored)
        ),
    )


def _share(right: int, prompts: int) -> Share:
    from scipy.stats import binomtest

    interval = binomtest(right, prompts).proportion_ci(LEVEL, method="wilson")
    return Share(right=right, prompts=prompts, low=float(interval.low), high=float(interval.high))
