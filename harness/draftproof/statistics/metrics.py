"""What each figure means: a ratio of two per-prompt sums.

A figure of a domain is Σ numerator ÷ Σ denominator over its prompts (pooled: every node or step
counts the same). The mean of prompts' own ratios, in which every prompt counts the same, is another
figure and is named so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioMetric:
    """A ratio of two sums of `draftproof.statistics.sums`.

    Attributes:
        name: Its key in ``metrics.json``.
        numerator: Name of the sum above the line.
        denominator: Name of the sum below it; an estimate's n is its total.
        absent: Why there is no estimate when the denominator is 0.
        squares: Name of the sum of squared observations, for the design effect; empty where an
            observation is 0 or 1, so that its square is itself.
        floor: The least value it can have.
        ceiling: The largest: 1 for rates; of a length, beside the depth of a draft.
        adds_depth: Whether it is a length in tokens: its largest value is then `ceiling` more than
            the depth of the deepest draft.
    """

    name: str
    numerator: str
    denominator: str
    absent: str
    squares: str = ""
    floor: float = 0.0
    ceiling: float = 1.0
    adds_depth: bool = False

    def bounds(self, deepest: float, most: float = math.inf) -> tuple[float, float]:
        """The least and the largest value it can have.

        Args:
            deepest: Depth of the deepest draft of the run; infinite where nobody tells.
            most: What a draft of the run's shape leaves possible, as far as that is known.

        Example:
            >>> next(m for m in METRICS if m.name == "block_efficiency").bounds(3)
            (1.0, 4.0)
        """
        return self.floor, min(most, self.ceiling + deepest if self.adds_depth else self.ceiling)


_NO_STEP = "no step was taken, or the engine does not tell steps"
_NO_NODE = "the drafter has no model, or the engine does not tell nodes"
_NO_DRAFT_MODEL = f"no node has an acceptance probability ({_NO_NODE})"
_NO_RANK = "no node has a target rank"

METRICS: tuple[RatioMetric, ...] = (
    RatioMetric(
        name="acceptance_probability",
        numerator="acceptance_probability",
        denominator="known_nodes",
        absent=_NO_DRAFT_MODEL,
        squares="acceptance_probability_squares",
    ),
    RatioMetric(
        name="greedy_match",
        numerator="greedy_matches",
        denominator="ranked_nodes",
        absent=_NO_RANK,
    ),
    RatioMetric(
        name="acceptance_rate_drafted",
        numerator="accepted_of_drafted",
        denominator="drafted",
        absent="no node was drafted, or the engine does not tell",
    ),
    RatioMetric(
        name="acceptance_rate_reached",
        numerator="accepted_nodes",
        denominator="reached",
        absent="no node was reached, or the engine does not tell nodes",
    ),
    RatioMetric(
        name="first_child_expected_length",
        numerator="path_length",
        denominator="path_steps",
        absent="no step has a first-child path of known acceptance probabilities",
        squares="path_squares",
        ceiling=0.0,
        adds_depth=True,
    ),
    RatioMetric(
        name="accepted_length",
        numerator="accepted",
        denominator="steps",
        absent=_NO_STEP,
        squares="accepted_squares",
        ceiling=0.0,
        adds_depth=True,
    ),
    RatioMetric(
        name="block_efficiency",
        numerator="committed_tokens",
        denominator="steps",
        absent=_NO_STEP,
        squares="committed_squares",
        floor=1.0,  # a step commits its extra token, or what takes its place
        ceiling=1.0,
        adds_depth=True,
    ),
)
"""The figures of a domain: over nodes, the mean acceptance probability, the share of greedy
matches, and the acceptance rate ÷ drafted and ÷ reached; over steps, the mean expected accepted
length (first-child path), the mean accepted length, and the block efficiency.

The expected accepted length (first-child path) is Σ over depths d of the mean over steps of the
product of acceptance probabilities down the first-child path to d. All depths share their
denominator, the steps of known path, so the sum of ratios is the one ratio given here. It is
another figure than `STUDY_LENGTH`."""

STUDY_LENGTH = "study_expected_length"
"""Key of the study's expected accepted length, which is no ratio of sums but a function of one: Σ
over d ≤ D of αᵈ, with α the acceptance probability of a node and D the deepest draft's depth."""


def study_length(alpha: float, depth: int) -> float:
    """The study's expected accepted length Σ_{d ≤ depth} αᵈ in tokens a step; NaN of NaN.

    Args:
        alpha: Mean acceptance probability of nodes.
        depth: Depth of the deepest draft.

    Source:
        *Acceptance Dynamics Across Cognitive Domains in Speculative Decoding*, arXiv 2604.14682.

    Example:
        >>> round(study_length(0.565, 3), 3)  # as the study prints it for chat
        1.065
    """
    return math.nan if math.isnan(alpha) else math.fsum(alpha**d for d in range(1, depth + 1))


DEPTH_METRICS: tuple[RatioMetric, ...] = (
    RatioMetric(
        name="acceptance_probability",
        numerator="acceptance_probability",
        denominator="known_nodes",
        absent=_NO_DRAFT_MODEL,
        squares="acceptance_probability_squares",
    ),
    RatioMetric(
        name="greedy_match",
        numerator="greedy_matches",
        denominator="ranked_nodes",
        absent=_NO_RANK,
    ),
    RatioMetric(
        name="reach_rate",
        numerator="steps_at_least",
        denominator="steps",
        absent=_NO_STEP,
    ),
    RatioMetric(
        name="conditional_acceptance",
        numerator="steps_at_least",
        denominator="steps_at_least_previous",
        absent="no step accepted that many tokens less one",
    ),
)
"""The figures of one depth d: two over its nodes; the reach rate P(accepted length ≥ d) over all
steps; and the same over steps whose accepted length is at least d − 1. A step whose draft is not
that deep counts as one that did not get there."""

ENTROPY_METRIC = RatioMetric(
    name="draft_entropy",
    numerator="draft_entropy",
    denominator="entropy_nodes",
    absent=f"no node has a draft entropy ({_NO_NODE})",
    squares="draft_entropy_squares",
    ceiling=math.inf,  # the logarithm of a vocabulary that records do not tell
)
"""Mean over nodes of the entropy, in nats, of the distribution that each was proposed from."""
