"""Accuracy: the share of right answers, plainly and speculatively, on the same prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from draftproof.statistics.small_samples import share_interval
from draftproof.trace import CaseRecord

LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share of prompts with Clopper and Pearson's 95% interval.

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

    The interval is Clopper and Pearson's of a binomial share: each prompt counts once, and the
    prompts are taken for independent draws. It covers at least as often as it says, with any number
    of prompts and for any share, which Wilson's does not.

    Source:
        C. J. Clopper and E. S. Pearson 1934; L. D. Brown, T. T. Cai and A. DasGupta 2001 on what
        Wilson's interval covers near 0 and 1.

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
    low, high = share_interval(right, prompts, LEVEL)
    return Share(right=right, prompts=prompts, low=low, high=high)
