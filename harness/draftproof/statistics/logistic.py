"""A binomial GLM of acceptance on domain and depth, on tables of counts, many tables at once.

Both predictors are categories, so the counts and sums of the domain × depth cells say all there is
to know, and a resample of prompts is a table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_STEPS = 30
_CONVERGED = 1e-9


class CellTables(NamedTuple):
    """Tables of domain × depth cells; each ``[tables, domains, depths]``.

    Attributes:
        counts: Nodes in the cell.
        sums: Σ of their acceptance probabilities.
    """

    counts: np.ndarray
    sums: np.ndarray


class AdditiveFit(NamedTuple):
    """The GLM with domain and depth as main effects.

    Attributes:
        coefficients: ``[tables, 1 + (domains − 1) + (depths − 1)]`` log-odds: intercept, domains
            after the first, depths after the first.
        fitted: ``[tables, domains, depths]`` fitted means.
        log_likelihood: ``[tables]``; NaN where the fit did not converge.
    """

    coefficients: np.ndarray
    fitted: np.ndarray
    log_likelihood: np.ndarray


def log_likelihood(tables: CellTables, means: np.ndarray) -> np.ndarray:
    """Σ over cells of s ln μ + (n − s) ln(1 − μ), ``[tables]``; 0 ln 0 is 0."""
    failures = tables.counts - tables.sums
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = np.where(tables.sums > 0, tables.sums * np.log(means), 0.0)
        misses = np.where(failures > 0, failures * np.log1p(-means), 0.0)
    return np.asarray((hits + misses).sum(axis=(1, 2)))


def marginal_means(tables: CellTables, axes: tuple[int, ...]) -> np.ndarray:
    """Means of all cells that differ only along `axes`, broadcast over the table."""
    counts = tables.counts.sum(axis=axes, keepdims=True)
    sums = tables.sums.sum(axis=axes, keepdims=True)
    means = np.divide(sums, counts, out=np.full(counts.shape, 0.5), where=counts > 0)
    return np.broadcast_to(np.clip(means, 0.0, 1.0), tables.counts.shape)


def design(domains: int, depths: int) -> np.ndarray:
    """``[domains · depths, parameters]`` dummy variables, first domain and first depth left out."""
    domain = np.repeat(np.eye(domains)[:, 1:], depths, axis=0)
    depth = np.tile(np.eye(depths)[:, 1:], (domains, 1))
    return np.hstack([np.ones((domains * depths, 1)), domain, depth])


def fit_additive(tables: CellTables) -> AdditiveFit:
    """The maximum-likelihood fit of each table, by Newton's method.

    Args:
        tables: Each domain and each depth has a node; cells may be empty.
    """
    shape = tables.counts.shape
    x = design(shape[1], shape[2])
    n, s = tables.counts.reshape(shape[0], -1), tables.sums.reshape(shape[0], -1)
    beta = np.zeros((shape[0], x.shape[1]))
    overall = np.clip(s.sum(axis=1) / np.maximum(n.sum(axis=1), 1), 1e-6, 1 - 1e-6)
    beta[:, 0] = np.log(overall / (1 - overall))
    gradient = np.zeros_like(beta)
    for _ in range(_STEPS):
        mean = _logistic(beta @ x.T)
        gradient = (s - n * mean) @ x
        if np.all(np.abs(gradient).max(axis=1) <= _CONVERGED * np.maximum(n.sum(axis=1), 1)):
            break
        weight = np.maximum(n * mean * (1 - mean), 0)
        information = np.einsum("bc,ci,cj->bij", weight, x, x, optimize=True)
        information += 1e-10 * np.maximum(n.sum(axis=1), 1)[:, None, None] * np.eye(x.shape[1])
        step = np.linalg.solve(information, gradient[:, :, None])[:, :, 0]
        # Where a cell is all or nothing the optimum is at infinity: bounded steps get near enough.
        beta = beta + np.clip(step, -3, 3)
    fitted = _logistic(beta @ x.T).reshape(shape)
    likelihood = log_likelihood(tables, fitted)
    total = np.maximum(n.sum(axis=1), 1)
    converged = np.abs(gradient).max(axis=1) <= 1e-6 * total
    return AdditiveFit(beta, fitted, np.where(converged, likelihood, np.nan))


def clustered_covariance(
    fitted: np.ndarray, counts: np.ndarray, sums: np.ndarray, domain: np.ndarray
) -> np.ndarray:
    """The sandwich covariance of an additive fit, with errors clustered by prompt.

    Args:
        fitted: ``[domains, depths]`` fitted means.
        counts: ``[prompts, depths]`` nodes of each prompt.
        sums: ``[prompts, depths]`` Σ of their acceptance probabilities.
        domain: ``[prompts]`` index of each prompt's domain.

    Returns:
        ``[parameters, parameters]``: A⁻¹ B A⁻¹ · G/(G−1), with A the information, B = Σ u uᵀ over
        the G prompts' scores u.

    Source:
        Liang and Zeger 1986; the factor as in Stata's ``vce(cluster)`` for likelihoods.
    """
    domains, depths = fitted.shape
    x = design(domains, depths).reshape(domains, depths, -1)
    weight = np.zeros((domains, depths))
    np.add.at(weight, domain, counts)
    weight *= fitted * (1 - fitted)
    information = np.einsum("dl,dli,dlj->ij", weight, x, x)
    residual = sums - counts * fitted[domain]
    scores = np.einsum("pl,pli->pi", residual, x[domain])
    prompts = len(counts)
    inverse = np.linalg.inv(information)
    return np.asarray(inverse @ (scores.T @ scores) @ inverse * prompts / (prompts - 1))


def _logistic(eta: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(eta / 2)))
