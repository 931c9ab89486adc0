"""Task or depth: how much of acceptance each of the two says, alone and given the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from draftproof.statistics.bootstrap import SHARE, Estimate
from draftproof.statistics.logistic import (
    CellTables,
    clustered_covariance,
    fit_additive,
    log_likelihood,
    marginal_means,
)
from draftproof.statistics.replicates import FEW_PROMPTS, Replicates
from draftproof.statistics.resampling import Resampling, resampled_totals
from draftproof.statistics.sums import PromptSums

PARTS = ("domain", "depth", "domain_given_depth", "depth_given_domain")
"""What says something about acceptance: each alone, and each beside the other."""

_DIFFERENCE = (-1.0, 1.0)
_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaldTest:
    """Whether all coefficients of a predictor are 0, with errors clustered by prompt.

    Attributes:
        statistic: χ² = bᵀ V⁻¹ b.
        degrees: Its degrees of freedom, the number of coefficients.
        p_value: Chance of as large a statistic if they are all 0.
    """

    statistic: float
    degrees: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOrDepth:
    """What domain and depth say about the acceptance probability of a node.

    Attributes:
        information: Mutual information in bits with the verdict of a coin that lands on
            *accepted* with the node's acceptance probability, for each of `PARTS`, bias-corrected.
        deviance: Share of the null deviance of a binomial GLM that each of `PARTS` explains,
            bias-corrected.
        information_difference: That of domain − that of depth, each alone; by the chain rule it is
            also the difference between the two, each given the other.
        depth_rise: Mean acceptance probability at the greatest depth − at depth 1, overall.
        wald: For ``domain`` and ``depth`` in the GLM with both.
        verdict: ``domain``, ``depth`` or ``not resolved``.
        sentence: The answer, with its numbers.
        reason: Why there is no answer; else empty.
        replicates: The difference in information and the rise on resampled prompts, for intervals
            of other levels; empty where there is no answer.
    """

    information: dict[str, Estimate]
    deviance: dict[str, Estimate]
    information_difference: Estimate
    depth_rise: Estimate
    wald: dict[str, WaldTest] = field(default_factory=dict)
    verdict: str = "not resolved"
    sentence: str = ""
    reason: str = ""
    replicates: Mapping[str, Replicates] = field(default_factory=dict, repr=False, compare=False)


def task_or_depth(sums: PromptSums, domains: Sequence[str], resampling: Resampling) -> TaskOrDepth:
    """Which of domain and depth says more about acceptance, with intervals over prompts.

    Args:
        sums: Those of every measured prompt.
        domains: The domains to tell apart, each resampled within itself.
        resampling: Number of resamples, level and seed.

    Source:
        Deviance of a fractional binomial GLM: Papke and Wooldridge 1996. Deviance and information
        are one thing in two units: Δ deviance = 2 n ln 2 · information for a predictor alone.
    """
    members = {d: [i for i, name in enumerate(sums.domains) if name == d] for d in domains}
    members = {d: rows for d, rows in members.items() if rows}
    counts, values = sums.by_depth["known_nodes"], sums.by_depth["acceptance_probability"]
    present = [d for d, rows in members.items() if counts[rows].sum() > 0]
    depths = [level for level in range(sums.depths) if counts[:, level].sum() > 0]
    n = int(counts.sum())
    if len(present) < 2 or len(depths) < 2:
        missing = "2 domains" if len(present) < 2 else "2 depths"
        return _unknown(n, f"it takes nodes of known acceptance probability in {missing} to tell")
    prompts = [len(members[d]) for d in present]
    if min(prompts) < FEW_PROMPTS:
        # Too few to resample, which every estimate will say.
        resampling = replace(resampling, resamples=1)
    saturated = sums.totals["acceptance_log_likelihood"]
    whole, drawn, base, drawn_base = [], [], 0.0, np.zeros(resampling.resamples)
    for d in present:
        rows = members[d]
        columns = np.hstack(
            [counts[rows][:, depths], values[rows][:, depths], saturated[rows, None]]
        )
        whole.append(columns.sum(axis=0))
        totals = resampled_totals(columns, d, resampling)
        drawn.append(totals)
        base += whole[-1][-1]
        drawn_base = drawn_base + totals[:, -1]
    k = len(depths)
    sample = figures(_tables(np.stack(whole)[None], k), np.array([base]))
    drawn_figures = figures(_tables(np.stack(drawn, axis=1), k), drawn_base)

    def resampled(
        name: str, bounds: tuple[float, float], *, bias_corrected: bool = True
    ) -> Replicates:
        return Replicates(
            value=float(sample[name][0]),
            draws=drawn_figures[name],
            n=n,
            weights=[counts[members[d]].sum(axis=1) for d in present],
            bounds=bounds,
            absent="acceptance does not vary, or the GLM has no finite fit",
            bias_corrected=bias_corrected,
        )

    def by_part(quantity: str) -> dict[str, Estimate]:
        return {
            part: resampled(f"{quantity}_{part}", SHARE).estimate(resampling.level)
            for part in PARTS
        }

    replicates = {
        "information_difference": resampled("information_difference", _DIFFERENCE),
        "depth_rise": resampled("depth_rise", _DIFFERENCE, bias_corrected=False),
    }
    difference, rise = (each.estimate(resampling.level) for each in replicates.values())
    every = np.concatenate([members[d] for d in present])
    index = np.repeat(np.arange(len(present)), prompts)
    answer = TaskOrDepth(
        information=by_part("information"),
        deviance=by_part("deviance"),
        information_difference=difference,
        depth_rise=rise,
        wald=wald_tests(counts[every][:, depths], values[every][:, depths], index),
        verdict=_verdict(difference),
        reason=difference.reason,
        replicates=replicates,
    )
    return _with_sentence(answer, sum(prompts))


def figures(tables: CellTables, saturated: np.ndarray) -> Mapping[str, np.ndarray]:
    """Every figure of each table, each ``[tables]``.

    Args:
        tables: Counts and sums by domain and depth.
        saturated: ``[tables]`` the log-likelihood that no model can exceed.
    """
    nodes = np.maximum(tables.counts.sum(axis=(1, 2)), 1)
    null = log_likelihood(tables, marginal_means(tables, (1, 2)))
    domain = log_likelihood(tables, marginal_means(tables, (2,)))
    depth = log_likelihood(tables, marginal_means(tables, (1,)))
    cells = log_likelihood(tables, marginal_means(tables, ()))
    both = fit_additive(tables).log_likelihood
    gains = {
        "information_domain": domain - null,
        "information_depth": depth - null,
        "information_domain_given_depth": cells - depth,
        "information_depth_given_domain": cells - domain,
    }
    found = {name: gain / (nodes * math.log(2)) for name, gain in gains.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(saturated > null, 1 / (saturated - null), np.nan)
    found |= {
        "deviance_domain": (domain - null) * explained,
        "deviance_depth": (depth - null) * explained,
        "deviance_domain_given_depth": (both - depth) * explained,
        "deviance_depth_given_domain": (both - domain) * explained,
    }
    by_depth = marginal_means(tables, (1,))[:, 0]
    return {
        **found,
        # Alone or given the other is one question: I(domain) + I(depth | domain), what both say, is
        # also I(depth) + I(domain | depth).
        "information_difference": found["information_domain"] - found["information_depth"],
        "depth_rise": by_depth[:, -1] - by_depth[:, 0],
    }


def wald_tests(counts: np.ndarray, sums: np.ndarray, domain: np.ndarray) -> dict[str, WaldTest]:
    """The clustered Wald tests of domain and of depth in the GLM with both.

    Args:
        counts: ``[prompts, depths]`` nodes.
        sums: ``[prompts, depths]`` Σ of their acceptance probabilities.
        domain: ``[prompts]`` index of the domain.

    Returns:
        By predictor; empty where the fit is not finite or the covariance is singular.
    """
    from scipy.special import chdtrc

    domains = int(domain.max()) + 1
    table = CellTables(
        np.stack([counts[domain == d].sum(axis=0) for d in range(domains)])[None],
        np.stack([sums[domain == d].sum(axis=0) for d in range(domains)])[None],
    )
    fit = fit_additive(table)
    if np.isnan(fit.log_likelihood[0]) or len(counts) < 2:
        return {}
    coefficients = fit.coefficients[0]
    parts = {"domain": slice(1, domains), "depth": slice(domains, len(coefficients))}
    tests = {}
    try:
        covariance = clustered_covariance(fit.fitted[0], counts, sums, domain)
        for name, part in parts.items():
            b = coefficients[part]
            statistic = float(b @ np.linalg.solve(covariance[part, part], b))
            tests[name] = WaldTest(
                statistic=statistic,
                degrees=len(b),
                p_value=float(chdtrc(len(b), max(statistic, 0.0))),
            )
    except np.linalg.LinAlgError:
        return {}
    return tests


def _tables(columns: np.ndarray, depths: int) -> CellTables:
    return CellTables(columns[:, :, :depths], columns[:, :, depths : 2 * depths])


def _verdict(difference: Estimate) -> str:
    if difference.low > 0:
        return "domain"
    return "depth" if difference.high < 0 else "not resolved"


def _with_sentence(answer: TaskOrDepth, prompts: int) -> TaskOrDepth:
    domain, depth = answer.information["domain"], answer.information["depth"]
    difference = answer.information_difference
    if answer.reason:
        return replace(answer, sentence=f"Task or depth: not estimable ({answer.reason}).")
    says = {
        "domain": "Task type says more about acceptance than depth does",
        "depth": "Depth says more about acceptance than task type does",
        "not resolved": f"Task or depth is not resolved at {prompts} prompts",
    }[answer.verdict]
    return replace(
        answer,
        sentence=(
            f"{says}: {domain.value:.5f} bits a node (domain) against {depth.value:.5f} (depth), "
            f"difference {difference.value:.5f} [{difference.low:.5f}, {difference.high:.5f}]."
        ),
    )


def _unknown(n: int, reason: str) -> TaskOrDepth:
    none = Estimate(value=_NAN, low=_NAN, high=_NAN, n=n, reason=reason)
    return TaskOrDepth(
        information=dict.fromkeys(PARTS, none),
        deviance=dict.fromkeys(PARTS, none),
        information_difference=none,
        depth_rise=none,
        sentence=f"Task or depth: not estimable ({reason}).",
        reason=reason,
    )
