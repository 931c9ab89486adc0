"""How often a 95% interval holds the truth, on simulated prompts whose truth is known.

    python benchmarks/statistics_coverage.py --write docs/statistics.md

Nodes of a simulated prompt share the prompt's own level (beta-binomial or a shared shift), so that
they are correlated as real ones are. One line a figure, one column a number of prompts: the share
of runs whose interval holds the truth, the intervals' mean width, and how many runs had none.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import scipy
from scipy.special import expit, logit, ndtr, ndtri

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from draftproof.statistics import RatioSums, Resampling, stratified_estimates
from draftproof.statistics.association import NodePairs, average_ranks, spearman
from draftproof.statistics.bootstrap import ANY, SHARE
from draftproof.statistics.costs import cost_estimates
from draftproof.statistics.dependence import figures, task_or_depth
from draftproof.statistics.logistic import CellTables
from draftproof.statistics.resampling import resampled_totals
from draftproof.statistics.sums import DEPTH_TOTALS, TOTALS, PromptSums

BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"
DEPTHS = 3
PROMPTS = (3, 5, 8, 16, 50, 200)
OURS, OURS_RESAMPLED = "draftproof's", "draftproof's, resampled"


def column(values):
    return np.asarray(values, float).reshape(-1, 1)


# Ratios of sums -------------------------------------------------------------------------------


def beta_binomial(generator, prompts, mean, concentration, nodes):
    """Greedy matches: each prompt has its own rate, and its own number of nodes."""
    count = generator.integers(*nodes, prompts)
    rate = generator.beta(concentration * mean, concentration * (1 - mean), prompts)
    return generator.binomial(count, rate), count


def length_dependent(generator, prompts):
    """Longer outputs are easier: the pooled rate is not the mean of the prompts' rates."""
    rate = generator.beta(4, 4, prompts)
    count = generator.poisson(50 * np.exp(1.5 * rate)) + 5
    return generator.binomial(count, rate), count


def accepted_lengths(generator, prompts):
    """Accepted lengths of chains of 5, with a prompt's own probability: 0 to 5 a step."""
    count = generator.integers(15, 60, prompts)
    rate = generator.beta(3, 3, prompts)
    total = np.array(
        [
            np.minimum(generator.geometric(1 - r, n) - 1, 5).sum()
            for r, n in zip(rate, count, strict=True)
        ]
    )
    return total, count


def lognormal_lengths(generator, prompts, mean, sigma, correlation):
    """Lengths as those of real outputs are spread; a prompt's rate goes with its length."""
    length, own = generator.standard_normal((2, prompts))
    count = np.maximum(1, np.round(60 * np.exp(sigma * length))).astype(int)
    own = correlation * length + np.sqrt(1 - correlation**2) * own
    return generator.binomial(count, expit(logit(mean) + own)), count


def entropies(generator, prompts):
    """A mean that nothing bounds from above: prompts' levels are lognormal, lengths too."""
    count = np.maximum(5, np.round(60 * np.exp(0.5 * generator.standard_normal(prompts))))
    level = np.exp(0.6 * generator.standard_normal(prompts))
    return generator.gamma(2 * count, level / 2), count


RATIOS = {
    "rate .53, even prompts": lambda g, p: beta_binomial(g, p, 0.53, 8, (100, 900)),
    "rate .53, uneven prompts": lambda g, p: beta_binomial(g, p, 0.53, 2, (100, 900)),
    "rate .02": lambda g, p: beta_binomial(g, p, 0.02, 20, (20, 200)),
    "rate .02, uneven prompts": lambda g, p: beta_binomial(g, p, 0.02, 5, (20, 200)),
    "rate .08, uneven prompts": lambda g, p: beta_binomial(g, p, 0.08, 3, (20, 200)),
    "rate .95": lambda g, p: beta_binomial(g, p, 0.95, 12, (20, 200)),
    "rate .98": lambda g, p: beta_binomial(g, p, 0.98, 20, (20, 200)),
    "rate that rises with length": length_dependent,
    "rate .5, lognormal lengths (σ = 1) that go with it": lambda g, p: lognormal_lengths(
        g, p, 0.5, 1.0, 0.7
    ),
    "rate .5, lognormal lengths (σ = 1) that go against it": lambda g, p: lognormal_lengths(
        g, p, 0.5, 1.0, -0.7
    ),
    "rate .1, lognormal lengths (σ = 1) that go with it": lambda g, p: lognormal_lengths(
        g, p, 0.1, 1.0, 0.7
    ),
    "rate .9, lognormal lengths (σ = .7) that go with it": lambda g, p: lognormal_lengths(
        g, p, 0.9, 0.7, 0.7
    ),
    "accepted length, 0 to 5": accepted_lengths,
    "entropy, without a largest value": entropies,
}
BOUNDS = {"accepted length, 0 to 5": (0.0, 5.0), "entropy, without a largest value": ANY}


@cache
def ratio_truth(name):
    above, below = RATIOS[name](np.random.default_rng(99), 300_000)
    return above.sum() / below.sum()


def percentile_and_bca(sums, resampling):
    """The two intervals that are not used, from the same resamples."""
    a, b = sums.numerators[:, 0], sums.denominators[:, 0]
    totals = resampled_totals(np.stack([a, b], axis=1), "a", resampling)
    ratios, value = totals[:, 0] / totals[:, 1], a.sum() / b.sum()
    influence = -((a.sum() - a) / (b.sum() - b))
    influence -= influence.mean()
    spread = (influence**2).sum()
    skew = (influence**3).sum() / (6 * spread**1.5) if spread > 0 else 0.0
    shift = ndtri(((ratios < value).mean() + (ratios <= value).mean()) / 2)
    z = ndtri(np.array([0.025, 0.975]))
    levels = ndtr(shift + (shift + z) / (1 - skew * (shift + z)))
    return np.quantile(ratios, [0.025, 0.975]), np.quantile(ratios, levels)


def ratio_rows(name, runs, prompts, resamples, seed):
    simulate, truth = RATIOS[name], ratio_truth(name)
    ends = {OURS: [], "percentile": [], "BCa": []}
    for run in range(runs):
        above, below = simulate(np.random.default_rng([seed, run]), prompts)
        sums = RatioSums(column(above), column(below))
        resampling = Resampling(resamples=resamples, seed=run)
        bounds = [BOUNDS.get(name, SHARE)]
        found = stratified_estimates({"a": sums}, [""], resampling, bounds).pooled[0]
        ends[OURS].append((found.low, found.high))
        if prompts == 50:
            for method, interval in zip(
                ("percentile", "BCa"), percentile_and_bca(sums, resampling), strict=True
            ):
                ends[method].append(interval)
    return [
        (name, method, prompts, *summary(truth, pairs)) for method, pairs in ends.items() if pairs
    ]


def summary(truth, pairs):
    """Coverage and mean width of the intervals that there are, and the share of those missing."""
    low, high = np.array(pairs, float).T
    known = ~np.isnan(low)
    if not known.any():
        return float("nan"), float("nan"), 1.0
    covered = (low[known] <= truth) & (truth <= high[known])
    return float(covered.mean()), float((high - low)[known].mean()), float((~known).mean())


# Figures that are no ratio of sums ------------------------------------------------------------


def node_pairs(generator, prompts, low=40, high=160):
    """Entropy and acceptance, both with a prompt's own shift: correlated within and between."""
    counts = generator.integers(low, high, prompts)
    prompt = np.repeat(np.arange(prompts), counts)
    shift = generator.normal(0, 0.6, (2, prompts))
    entropy = generator.gamma(2, np.exp(0.4 * shift[0][prompt]))
    noise = generator.normal(0, 1.5, len(prompt))
    alpha = 1.4 / (1 + np.exp(0.3 * entropy - shift[1][prompt] + noise - 0.8))
    return NodePairs(prompt, prompts, entropy, np.minimum(alpha, 1.0))


def uneven_node_pairs(generator, prompts):
    """The same with lognormal lengths, which go with how strongly the two are correlated."""
    length = generator.standard_normal(prompts)
    counts = np.maximum(14, 80 * np.exp(length)).astype(int)
    prompt = np.repeat(np.arange(prompts), counts)
    shift = generator.normal(0, 0.6, (2, prompts))
    slope = 0.3 + 0.1 * length + 0.2 * generator.standard_normal(prompts)
    entropy = generator.gamma(2, np.exp(0.4 * shift[0][prompt]))
    noise = generator.normal(0, 1.5, len(prompt))
    level = shift[1] + 0.6 * length
    alpha = 1.4 / (1 + np.exp(slope[prompt] * entropy - level[prompt] + noise - 0.8))
    return NodePairs(prompt, prompts, entropy, np.minimum(alpha, 1.0))


PAIRS = {
    "Spearman's ρ": node_pairs,
    "Spearman's ρ, lognormal lengths that go with it": uneven_node_pairs,
}


@cache
def spearman_truth(name):
    large = PAIRS[name](np.random.default_rng(99), 20_000)
    return np.corrcoef(average_ranks(large.x), average_ranks(large.y))[0, 1]


def spearman_row(name, runs, prompts, resamples, seed):
    truth, pairs = spearman_truth(name), []
    for run in range(runs):
        sample = PAIRS[name](np.random.default_rng([seed, run]), prompts)
        found = spearman(sample, "a", Resampling(resamples=resamples, seed=run)).estimate(0.95)
        pairs.append((found.low, found.high))
    return (name, OURS_RESAMPLED, prompts, *summary(truth, pairs))


def case_seconds(generator, prompts):
    """Seconds and tokens of both outputs: lognormal lengths, which go with the speedup."""
    length, own = generator.standard_normal((2, prompts))
    tokens = np.maximum(5, np.round(60 * np.exp(0.8 * length)))
    kept = np.clip(2.2 + 0.3 * length + 0.4 * own, 1, 4)
    noise = np.exp(0.05 * generator.standard_normal((2, prompts)))
    plain = 0.1 + 0.05 * tokens * noise[0]
    speculative = 0.12 + 0.08 * tokens / kept * noise[1]
    return np.stack([plain, tokens, speculative, tokens, 0 * tokens, 0 * tokens], axis=1)


def speedup_row(runs, prompts, resamples, seed):
    total = case_seconds(np.random.default_rng(99), 1_000_000).sum(axis=0)
    truth = (total[0] / total[1]) / (total[2] / total[3])
    pairs = []
    for run in range(runs):
        strata = {"a": case_seconds(np.random.default_rng([seed, run]), prompts)}
        found = cost_estimates(strata, Resampling(resamples=resamples, seed=run))[1].speedup
        pairs.append((found.low, found.high))
    name = "speedup, lognormal lengths that go with it"
    return (name, OURS_RESAMPLED, prompts, *summary(truth, pairs))


def prompt_cells(generator, prompts, domain_effect, depth_effect):
    """Counts and sums by depth of the prompts of four domains."""
    counts, sums, domains = [], [], []
    for d in range(4):
        steps = generator.integers(15, 60, (prompts, 1))
        count = steps * np.array([2, 4, 8])
        level = 0.53 + domain_effect * (d - 1.5) + depth_effect * (np.arange(DEPTHS) - 1)
        shift = generator.normal(0, 0.07, (prompts, 1))
        mean = np.clip(level + shift, 0.02, 0.98)
        # Acceptance probabilities within a prompt: variance as of a beta with concentration 2.
        noise = generator.standard_normal(count.shape) * np.sqrt(mean * (1 - mean) / 3 / count)
        counts.append(count)
        sums.append(count * np.clip(mean + noise, 0.001, 0.999))
        domains += [f"d{d}"] * prompts
    return np.concatenate(counts).astype(float), np.concatenate(sums), tuple(domains)


def as_prompt_sums(counts, sums, domains):
    prompts = len(domains)
    totals = {name: np.zeros(prompts) for name in TOTALS}
    totals["acceptance_log_likelihood"] = -0.45 * counts.sum(axis=1)
    by_depth = {name: np.zeros((prompts, DEPTHS)) for name in DEPTH_TOTALS}
    by_depth |= {"known_nodes": counts, "acceptance_probability": sums}
    return PromptSums(
        case_ids=tuple(map(str, range(prompts))),
        domains=domains,
        totals=totals,
        by_depth=by_depth,
        most_steps=totals["steps"],
    )


@cache
def dependence_truth(effects):
    counts, sums, _ = prompt_cells(np.random.default_rng(99), 60_000, *effects)
    table = CellTables(
        counts.reshape(1, 4, -1, 3).sum(axis=2), sums.reshape(1, 4, -1, 3).sum(axis=2)
    )
    return figures(table, np.array([-0.45 * counts.sum()]))


def dependence_rows(label, effects, runs, prompts, resamples, seed):
    large = dependence_truth(effects)
    names = {
        "information of domain": ("information_domain", lambda a: a.information["domain"]),
        "information of depth": ("information_depth", lambda a: a.information["depth"]),
        "their difference": (
            "information_difference",
            lambda a: a.information_difference,
        ),
        "deviance of domain given depth": (
            "deviance_domain_given_depth",
            lambda a: a.deviance["domain_given_depth"],
        ),
        "acceptance's rise with depth": ("depth_rise", lambda a: a.depth_rise),
    }
    pairs = {name: [] for name in names}
    for run in range(runs):
        sample = as_prompt_sums(
            *prompt_cells(np.random.default_rng([seed, run]), prompts, *effects)
        )
        answer = task_or_depth(
            sample, ("d0", "d1", "d2", "d3"), Resampling(resamples=resamples, seed=run)
        )
        for name, (_, of) in names.items():
            pairs[name].append((of(answer).low, of(answer).high))
    return [
        (
            f"{name}, {label}",
            OURS_RESAMPLED,
            prompts,
            *summary(float(large[key][0]), pairs[name]),
        )
        for name, (key, _) in names.items()
    ]


def measure(runs, resamples, seed):
    """Every row; of 200 prompts half as many runs."""
    rows = []
    for prompts in PROMPTS:
        count = runs if prompts < 200 else runs // 2
        for name in RATIOS:
            rows += ratio_rows(name, count, prompts, resamples, seed)
        for name in PAIRS:
            rows.append(spearman_row(name, count // 2, prompts, resamples, seed))
        rows.append(speedup_row(count, prompts, resamples, seed))
        for label, effects in {
            "both matter": (0.025, 0.015),
            "neither matters": (0.0, 0.0),
        }.items():
            rows += dependence_rows(label, effects, count // 2, prompts, resamples, seed)
    return rows


def cell(coverage, width, missing):
    """``94.5% (.105)``; of runs without an interval, their share."""
    if missing == 1:
        return "none"
    text = f"{coverage:.1%} ({width:.2g})"
    return text if not missing else f"{text}; {missing:.1%} none"


def table(rows, command, seconds):
    found = {}
    for name, method, prompts, *measured in rows:
        found.setdefault((name, method), {})[prompts] = cell(*measured)
    lines = [
        f"`{command}`, Python {platform.python_version()}, numpy {np.__version__}, scipy "
        f"{scipy.__version__}; {seconds:.0f} s on one core of a busy machine. Figures that are "
        "resampled have half as many runs, and 200 prompts half as many again.",
        "",
        f"| figure | interval | {' | '.join(map(str, PROMPTS))} |",
        f"|---|---|{'---:|' * len(PROMPTS)}",
    ]
    for (name, method), cells in found.items():
        lines.append(
            f"| {name} | {method} | {' | '.join(cells.get(count, '') for count in PROMPTS)} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="put the table between the markers of this file")
    arguments = parser.parse_args()
    started = time.perf_counter()
    rows = measure(arguments.runs, arguments.resamples, arguments.seed)
    command = (
        f"python benchmarks/statistics_coverage.py --runs {arguments.runs} "
        f"--resamples {arguments.resamples} --seed {arguments.seed}"
    )
    text = table(rows, command, time.perf_counter() - started)
    print(text)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
