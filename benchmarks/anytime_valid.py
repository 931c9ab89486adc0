"""False alarms and detection of the anytime-valid test, on simulated engines.

    python benchmarks/anytime_valid.py --write docs/lossless.md

Lossless engines are watched, and rejected if the e-value ever passes 1/α. Faulty ones are watched
until it does. The named alternatives are looked at after every token, and all components together
after every tenth, later after every twentieth part. Contexts are arbitrary: 64 of them for each
table, where the next one depends on the token.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import beta, chi2, ncx2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import simulated_engines as engines

from draftproof.lossless.evidence import DeclaredRule, EvidenceMeter, Observation, Site
from draftproof.lossless.evidence.alternatives import ALTERNATIVES, STATED_FAULTS, Kind
from draftproof.lossless.evidence.decision import (
    SCOPE_WEIGHTS,
    SCOPES,
    SHARE_WEIGHTS,
    View,
    prior,
    tilt_prior,
)
from draftproof.lossless.evidence.observation import Stream
from draftproof.lossless.evidence.position import RARE, TOLERANCE, Merging, denominator, locate
from draftproof.lossless.evidence.process import (
    APPLICABLE,
    SHARES,
    alternative_laws,
    likelihood_ratios,
    mixed_logs,
)
from draftproof.lossless.evidence.tilts import FEATURES, log_mixtures, tilted
from draftproof.lossless.evidence.verdict import judge

BFLOAT16 = 0.25
"""How far a log-probability may be off by rounding: `engines.law_test` for a bfloat16 target."""


@dataclass(frozen=True)
class Way:
    """How a token came, and what each outcome that came so adds to the sums of a view.

    Attributes:
        scope: The scope in which its stream is alone; 0 for none.
        factors: ``[contexts, tokens, alternatives, shares]`` what the product of each named
            component is multiplied by; infinite where an outcome is proof.
        centred: ``[contexts, tokens, features]`` x.
        covariances: ``[contexts, features, features]`` Σ.
        excess: ``[contexts]``
    """

    scope: int
    factors: np.ndarray
    centred: np.ndarray
    covariances: np.ndarray
    excess: np.ndarray


TOLD = ("bonus", "kept", "rejected")
"""Ways that a token can have come, if the engine tells; else it is 'unknown'."""


def ratio_tables(tables, rule, *, told=True, proposals=None, tolerance=TOLERANCE):
    """``{view: {way: Way}}``, computed by the harness's own code."""
    places = [
        place(
            Observation(
                target=tables.p[context],
                draft=tables.q[context],
                unfiltered_target=tables.unfiltered[context],
                raw_target=tables.raw[context],
                token=0,
                site=Site.UNKNOWN,
                proposals=None if proposals is None else (int(proposals[context]),),
            ),
            rule,
            tolerance,
        )
        for context in range(tables.contexts)
    ]
    if not told:
        return {View.TOKENS: {"unknown": way_table(places, Stream.UNKNOWN, None)}}
    return {
        view: {
            "bonus": way_table(places, Stream.BONUS, None),
            **{
                name: way_table(places, drafted, kept)
                for name, kept in (("kept", True), ("rejected", False))
            },
        }
        for view, drafted in (
            (View.PAIRS, Stream.DRAFTED),
            (View.TOKENS, Stream.DRAFTED_TOKEN),
        )
    }


def place(observation, rule, tolerance):
    """(position, ``[tokens]`` the outcome that each token is counted in)."""
    merging = Merging(observation.laws, observation.proposals or (), RARE)
    outcomes = [merging.outcome(token) for token in range(len(observation.target))]
    return locate(observation, rule, tolerance=tolerance).position, outcomes


def way_table(places, stream, was_kept):
    scope = {Stream.DRAFTED: 2, Stream.DRAFTED_TOKEN: 2, Stream.BONUS: 3}.get(stream, 0)
    rows = []
    for at, outcomes in places:
        factors, centred, covariance, excess = way_rows(at, stream, was_kept)
        rows.append((factors[outcomes], centred[outcomes], covariance, excess))
    return Way(scope, *(np.stack(column) for column in zip(*rows, strict=True)))


def way_rows(at, stream, was_kept):
    kept = was_kept if stream is Stream.DRAFTED and at.null is not None else None
    laws = alternative_laws(at, stream)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = likelihood_ratios(at, laws, stream, kept, slice(None))
        impossible = (denominator(at, kept) == 0) | (at.p == 0)
        logs = mixed_logs(np.where(impossible, 1.0, ratios))
    factors = np.ones((len(at.p), len(ALTERNATIVES), len(SHARES)), np.float32)
    factors[:, APPLICABLE[stream]] = np.exp(logs.transpose(1, 0, 2))
    factors[impossible] = np.inf
    tilt = tilted(at, kept)
    return factors, tilt.centred(slice(None)).T, tilt.covariance, tilt.excess


NEGLIGIBLE = 1e-150
"""Components below this are 0 from then on, which lowers the e-value by next to nothing."""

LOOK, LATER_LOOKS = 10, 20
"""Tokens between two looks at all components together: ten, or a twentieth of all so far."""


class Watched:
    """The sums of many runs in one view."""

    def __init__(self, ways, runs):
        self.ways = ways
        self._streams = sorted({way.scope for way in ways.values()})
        shape = (len(self._streams), runs)
        self._products = np.ones((*shape, len(ALTERNATIVES), len(SHARES)))
        self._scores = np.zeros((*shape, len(FEATURES)))
        self._spreads = np.zeros((*shape, len(FEATURES), len(FEATURES)))
        self._excess = np.zeros(shape)

    def add(self, name, runs, contexts, tokens):
        """Count one token of each of some runs that came the same way."""
        way = self.ways[name]
        stream = self._streams.index(way.scope)
        with np.errstate(invalid="ignore", over="ignore"):
            self._products[stream, runs] *= way.factors[contexts, tokens]
        x = way.centred[contexts, tokens]
        self._scores[stream, runs] += x
        outer = x[:, :, None] * x[:, None, :]
        self._spreads[stream, runs] += (outer + 2 * way.covariances[contexts]) / 3
        self._excess[stream, runs] += way.excess[contexts]

    def named(self, runs, weights):
        """The named components' part of the e-value."""
        products = self._products[:, runs]
        with np.errstate(invalid="ignore", over="ignore"):
            value = np.einsum("ras,as->r", products.prod(axis=0), weights[0])
            for row, scope in enumerate(self._streams):
                if scope:
                    value += np.einsum("ras,as->r", products[row], weights[scope])
        value[~np.isfinite(value)] = np.inf
        return value

    def tilts(self, runs):
        """The tilts' part of the e-value."""
        weights, value = tilt_prior(), 0.0
        for scope in range(len(SCOPES)):
            rows = [
                row for row, stream in enumerate(self._streams) if scope == 0 or stream == scope
            ]
            if not rows:
                value = value + weights[scope].sum()
                continue
            sums = (self._scores, self._spreads, self._excess)
            logs = log_mixtures(*(each[rows][:, runs].sum(axis=0) for each in sums))
            value = value + np.einsum("rbs,bs->r", np.exp(np.minimum(logs, 600)), weights[scope])
        return value

    def forget(self):
        """Put away what no longer counts."""
        self._products[self._products < NEGLIGIBLE] = 0


def first_passages(engine, ratios, *, seed, runs, tokens, alphas, weights=None, tilts=True):
    """For each α and run the first token at which the e-value is seen to be at least 1/α; else 0.

    Args:
        engine: One of `simulated_engines`.
        ratios: From `ratio_tables`.
        seed: Of the runs.
        runs: How many.
        tokens: Of each, at most.
        alphas: The levels.
        weights: ``[scopes, alternatives, shares]`` in place of `prior()`.
        tilts: Whether those count; without them the e-value is smaller.
    """
    weights = prior() if weights is None else weights
    elsewhere = {0, *(way.scope for ways in ratios.values() for way in ways.values())}
    idle = sum(weights[scope].sum() for scope in range(len(SCOPES)) if scope not in elsewhere)
    generator = np.random.default_rng(seed)
    watched = {view: Watched(ways, runs) for view, ways in ratios.items()}
    found = np.zeros((len(alphas), runs), int)
    active = np.ones(runs, bool)
    next_look = LOOK
    for index, (context, place, kept, token) in enumerate(engine.runs(generator, runs, tokens), 1):
        live = np.flatnonzero(active)
        came = np.where(place == engines.BONUS, 0, np.where(kept, 1, 2))
        values = np.zeros(len(live))
        is_look = tilts and index in (next_look, tokens)
        if is_look:
            next_look = index + max(LOOK, index // LATER_LOOKS)
        for each in watched.values():
            for name in each.ways:
                chosen = live[came[live] == TOLD.index(name)] if name in TOLD else live
                each.add(name, chosen, context[chosen], token[chosen])
            values += (each.named(live, weights) + idle) / len(watched)
            if is_look:
                values += each.tilts(live) / len(watched)
        for row, alpha in enumerate(alphas):
            passed = live[(values >= 1 / alpha) & (found[row, live] == 0)]
            found[row, passed] = index
        active[live] = (found[:, live] == 0).any(axis=0)
        if not active.any():
            break
        if index % 10 == 9:
            for each in watched.values():
                each.forget()
    return found


# False alarms -----------------------------------------------------------------------------------

ALPHAS = (0.05, 0.01, 1e-4)


def all_tables(seed):
    return {
        "8 ids": engines.random_tables(seed, 8),
        "32 ids": engines.random_tables(seed, 32),
        "512 ids": engines.random_tables(seed, 512),
        "512 ids, T = 0.7, top-k 40": engines.random_tables(seed, 512, temperature=0.7, top_k=40),
        "adversarial": engines.adversarial_tables(),
    }


def lossless_engines(tables):
    """Name → engine, declared rule, proposals, whether it tells what was kept."""
    right = engines.lossless(tables, depth=3)
    return {
        "rejection": (right, DeclaredRule.REJECTION, None, True),
        "rejection, not told": (right, DeclaredRule.OTHER, None, False),
        "match, sampled draft": (
            engines.by_match(tables, depth=3), DeclaredRule.MATCH, None, True,
        ),
        "point mass, greedy draft": (
            engines.greedy_one_hot(tables, depth=3),
            DeclaredRule.POINT_MASS,
            tables.q.argmax(axis=1),
            True,
        ),
    }  # fmt: skip


def false_alarms(seed, runs, tokens):
    """(tables, engine, runs, tokens, alarms by α)."""
    rows = []
    for name, tables in all_tables(seed).items():
        for label, (engine, rule, proposals, told) in lossless_engines(tables).items():
            ratios = ratio_tables(tables, rule, told=told, proposals=proposals)
            found = first_passages(
                engine, ratios, seed=[seed, len(rows)], runs=runs, tokens=tokens, alphas=ALPHAS
            )
            rows.append((name, label, runs, tokens, (found > 0).sum(axis=1)))
    return rows


def clopper_pearson(count, n, level=0.95):
    tail = (1 - level) / 2
    low = beta.ppf(tail, count, n - count + 1) if count else 0.0
    high = beta.ppf(1 - tail, count + 1, n - count) if count < n else 1.0
    return low, high


# Detection --------------------------------------------------------------------------------------

FAULTS = (
    "ratio inverted",
    "no residual",
    "residual of the wrong sign",
    "softmax of the residual",
    "partial residual",
    "argmax correction",
    "greedy draft verified as sampled",
    "drawn at T = 0.7, scored at 1",
    "drawn at T = 0.8, scored at 1",
    "drawn at T = 0.9, scored at 1",
    "leniency 0.8",
    "leniency 0.9",
    "one draw for coin and correction",
    "draft tokens below 0.1 dropped",
    "filters missing in correction",
    "bonus at T = 1, run at 0.7",
    "bonus is the argmax",
    "stored draft law divided by noise",
    "coin ignored once in 20",
    "greedy draft, coin p(x), residual of q",
    "sampled draft, coin p(x), residual of q",
    "greedy draft, coin of q, no residual",
    "two likeliest exchanged in a quarter of contexts",
    "target at 1.15",
)
ALPHA, POWER = 1e-4, 0.9


def tables_for(fault, seed, vocabulary):
    if fault.startswith("bonus at"):
        return engines.random_tables(seed, vocabulary, temperature=0.7)
    if fault.startswith("filters"):
        return engines.random_tables(seed, vocabulary, top_k=max(3, vocabulary // 12))
    return engines.random_tables(seed, vocabulary)


def chi_square_tokens(p, law):
    """Tokens that a chi-square test at one fixed context needs; the median over contexts.

    As it is done in practice: tokens expected less than five times are one cell. A token of
    probability 0 is proof, and is seen after log(1 − power) / log(1 − its probability) tokens.
    """
    return float(np.median([_chi_square(*rows) for rows in zip(p, law, strict=True)]))


def _chi_square(p, law):
    impossible = law[p == 0].sum()
    by_proof = np.log(1 - POWER) / np.log1p(-impossible) if impossible > 1e-12 else np.inf
    low, high = 5.0, 1e9
    while high / low > 1.001:
        n = np.sqrt(low * high)
        low, high = (low, n) if _chi_square_power(p, law, n) >= POWER else (n, high)
    return min(high, by_proof)


def _chi_square_power(p, law, n):
    often = n * p >= 5
    expected, found = (np.append(row[often], row[~often].sum()) for row in (p, law))
    cells = expected > 1e-12
    if cells.sum() < 2:
        return 0.0
    effect = ((found - expected)[cells] ** 2 / expected[cells]).sum()
    degrees = cells.sum() - 1
    return ncx2.sf(chi2.isf(ALPHA, degrees), degrees, n * effect)


def tokens_if_known(p, law):
    """Wald's log(1/α) ÷ the mean information a token: a test of this one fault alone needs it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.where(law > 0, law * np.log(law / p), 0).sum(axis=1).mean()
    return -np.log(ALPHA) / information if information > 1e-12 else np.inf


def detection(
    fault, *, seed, runs, tokens, vocabulary, weights=None, tilts=True, tolerance=TOLERANCE
):
    """Tokens until rejection, as (median, 90% quantile): told what was kept, and not told."""
    tables = tables_for(fault, seed, vocabulary)
    engine = engines.faulty(fault, tables)
    figures = []
    for rule, told in ((DeclaredRule.REJECTION, True), (DeclaredRule.OTHER, False)):
        ratios = ratio_tables(tables, rule, told=told, tolerance=tolerance)
        figures.append(passage_quantiles(engine, ratios, seed, runs, tokens, weights, tilts))
    return figures


def passage_quantiles(engine, ratios, seed, runs, tokens, weights=None, tilts=True):
    found = first_passages(
        engine, ratios, seed=[seed, engine.tables.vocabulary], runs=runs, tokens=tokens,
        alphas=(ALPHA,), weights=weights, tilts=tilts,
    )[0]  # fmt: skip
    reached = np.where(found > 0, found, np.inf)
    return np.quantile(reached, [0.5, POWER], method="higher")


def detection_row(fault, *, seed, runs, tokens, vocabulary):
    tables = tables_for(fault, seed, vocabulary)
    engine = engines.faulty(fault, tables)
    around = {"seed": seed, "runs": runs, "tokens": tokens, "vocabulary": vocabulary}
    found = detection(fault, **around)
    nameless = detection(fault, **around, weights=0 * prior())
    try:
        law = engine.emitted_law()
    except NotImplementedError:
        return fault, found, nameless, None, None, None
    variation = float(np.median(np.abs(law - tables.p).sum(axis=1) / 2))
    return (
        fault, found, nameless, tokens_if_known(tables.p, law), chi_square_tokens(tables.p, law),
        variation,
    )  # fmt: skip


# Rounding ---------------------------------------------------------------------------------------

ROUNDED_FAULTS = (
    "no residual",
    "partial residual",
    "drawn at T = 0.7, scored at 1",
    "drawn at T = 0.9, scored at 1",
    "leniency 0.8",
    "target at 1.15",
)


def rounding_rows(seed, runs, tokens, vocabulary):
    """(engine, [(median, 90%) of both views, and of pairs alone] by tolerance), if told."""
    rows = []
    cases = [
        (fault, DeclaredRule.REJECTION, None, engines.faulty(fault, tables), tables)
        for fault in ROUNDED_FAULTS
        for tables in [tables_for(fault, seed, vocabulary)]
    ]
    tables = engines.random_tables(seed, vocabulary)
    for temperature in (1.15, 1.3):
        hot = engines.tempered(tables.p, temperature)
        engine = dataclasses.replace(
            engines.greedy_one_hot(tables), keep=hot, corrections=engines.WithoutRejected(hot)
        )
        known = tables.q.argmax(axis=1)
        name = f"point mass, target at {temperature}"
        cases.append((name, DeclaredRule.POINT_MASS, known, engine, tables))
    for name, rule, proposals, engine, known in cases:
        cells = []
        for tolerance in (TOLERANCE, BFLOAT16):
            ratios = ratio_tables(known, rule, proposals=proposals, tolerance=tolerance)
            cells += [
                passage_quantiles(engine, views, seed, runs, tokens)
                for views in (ratios, {View.PAIRS: ratios[View.PAIRS]})
            ]
        rows.append((name, cells))
    return rows


def rounding_table(rows, limit):
    lines = [
        "| engine | float32: both views | pairs alone | bfloat16: both views | pairs alone |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, cells in rows:
        lines.append(f"| {name} | {' | '.join(tokens_text(c[0], limit) for c in cells)} |")
    return lines


def tokens_text(tokens, limit):
    return f"{tokens:.0f}" if np.isfinite(tokens) else f"> {limit}"


# Priors -----------------------------------------------------------------------------------------

PRIORS = {
    "as it is": (SCOPE_WEIGHTS, SHARE_WEIGHTS, 1),
    "even over shares": (SCOPE_WEIGHTS, (0.25,) * 4, 1),
    "half on single streams": ((0.5, 1 / 6, 1 / 6, 1 / 6), SHARE_WEIGHTS, 1),
    "faults that hide weigh 5 times": (SCOPE_WEIGHTS, SHARE_WEIGHTS, 5),
}
HIDING = {Kind.LENIENCY, Kind.DRAWN_OTHERWISE, Kind.TEMPERED, Kind.DRAFTS_LAW, Kind.REUSED_DRAW}
PRIOR_FAULTS = (
    "no residual",
    "drawn at T = 0.9, scored at 1",
    "leniency 0.9",
    "coin ignored once in 20",
    "bonus at T = 1, run at 0.7",
)


def changed_prior(scopes, shares, hiding):
    """The prior with other weights of scopes, shares and kinds."""
    weights = prior() / np.array(SCOPE_WEIGHTS)[:, None, None] / np.array(SHARE_WEIGHTS)
    factor = np.array([hiding if a.kind in HIDING else 1 for a in ALTERNATIVES])[None, :, None]
    weights = weights * factor
    weights *= prior()[0].sum() / SCOPE_WEIGHTS[0] / weights[:, :, :1].sum(axis=1, keepdims=True)
    return weights * np.array(scopes)[:, None, None] * np.array(shares)


# Power ------------------------------------------------------------------------------------------


def with_share_of_drafts_law(tables, share):
    right = engines.lossless(tables)
    return dataclasses.replace(right, keep=(1 - share) * right.keep + share)


def with_share_without_residual(tables, share):
    right = engines.lossless(tables)
    law = (1 - share) * engines.residual(tables.p, tables.q) + share * tables.p
    return dataclasses.replace(right, corrections=engines.FromLaw(law))


def with_share_drawn_at(tables, share):
    law = (1 - share) * tables.q + share * engines.tempered(tables.q, 0.9)
    return dataclasses.replace(engines.lossless(tables), drawn=law)


def with_share_kept_less(tables, share):
    p, q = tables.p, tables.q
    kept = (1 - 0.1 * share) * engines.smaller_of_1(p, q)
    rejected = p - q * kept
    return dataclasses.replace(
        engines.lossless(tables),
        keep=kept,
        corrections=engines.FromLaw(rejected / rejected.sum(axis=1, keepdims=True)),
    )


STATED = dict(
    zip(
        STATED_FAULTS,
        (
            with_share_of_drafts_law,
            with_share_without_residual,
            with_share_drawn_at,
            with_share_kept_less,
        ),
        strict=True,
    )
)


def power_check(seed, runs, tokens, vocabulary):
    """What share of each stated fault `judge` states for a lossless run; how often it is caught."""
    tables = engines.random_tables(seed, vocabulary)
    rows = []
    for name, told, tolerance in (
        ("told", True, TOLERANCE),
        ("told, bfloat16", True, BFLOAT16),
        ("not told", False, TOLERANCE),
    ):
        rule = DeclaredRule.REJECTION if told else DeclaredRule.OTHER
        meter = EvidenceMeter(rule, tolerance=tolerance)
        run = engines.lossless(tables).runs(np.random.default_rng(seed), 1, tokens)
        for context, _, kept, token in run:
            site = Site.ACCEPTED if kept[0] else Site.CORRECTION
            meter.observe(
                Observation(
                    target=tables.p[context[0]],
                    draft=tables.q[context[0]],
                    token=int(token[0]),
                    site=site if told else Site.UNKNOWN,
                )
            )
        power = judge([meter.evidence], alpha=ALPHA).power
        ratios = ratio_tables(tables, rule, told=told, tolerance=tolerance)
        for index, engine in STATED.items():
            stated = power[ALTERNATIVES[index].name]
            caught = None
            if stated is not None:
                found = first_passages(
                    engine(tables, stated), ratios, seed=[seed, 1], runs=runs, tokens=tokens,
                    alphas=(ALPHA,),
                )[0]  # fmt: skip
                caught = int((found > 0).sum())
            rows.append((name, ALTERNATIVES[index].name, tokens, stated, caught, runs))
    return rows


# Tables -----------------------------------------------------------------------------------------


def figure(value):
    if value is None:
        return "–"
    if not np.isfinite(value):
        return "none"
    digits = max(0, 1 - int(np.floor(np.log10(max(value, 1)))))
    return f"{round(value, 2 - len(str(int(value)))):.0f}" if digits == 0 else f"{value:.0f}"


def false_alarm_table(rows):
    lines = [
        "| contexts | lossless engine | runs × tokens | α = .05 | α = .01 | α = 10⁻⁴ |",
        "|---|---|---|---:|---:|---:|",
    ]
    total = np.zeros(len(ALPHAS), int)
    for name, label, runs, tokens, alarms in rows:
        total += alarms
        shares = " | ".join(f"{count / runs:.4f}" for count in alarms)
        lines.append(f"| {name} | {label} | {runs} × {tokens} | {shares} |")
    runs = sum(row[2] for row in rows)
    intervals = []
    for count in total:
        low, high = clopper_pearson(int(count), runs)
        intervals.append(f"{count / runs:.5f} [{low:.5f}, {high:.5f}]")
    lines.append(f"| **all** | | {runs} runs | {' | '.join(intervals)} |")
    return lines


def detection_table(rows, limit):
    lines = [
        "| fault | TV | told: median | 90% | not told: median | 90% | nameless: told | not told | "
        "if known | chi-square |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for fault, found, nameless, known, fixed, variation in rows:
        size = "–" if variation is None else f"{variation:.3f}"
        figures = [*found[0], *found[1], nameless[0][0], nameless[1][0]]
        cells = " | ".join(tokens_text(x, limit) for x in figures)
        lines.append(f"| {fault} | {size} | {cells} | {figure(known)} | {figure(fixed)} |")
    return lines


def prior_table(seed, runs, tokens):
    names = list(PRIORS)
    lines = [
        "| fault | " + " | ".join(names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for fault in PRIOR_FAULTS:
        cells = []
        for name in names:
            weights = changed_prior(*PRIORS[name])
            found = detection(
                fault, seed=seed, runs=runs, tokens=tokens, vocabulary=32, weights=weights
            )
            cells.append(" / ".join(f"{median:.0f}" for median, _ in found))
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return lines


def power_table(rows):
    lines = [
        "| | fault | tokens | stated share | caught |",
        "|---|---|---:|---:|---:|",
    ]
    for name, fault, tokens, stated, caught, runs in rows:
        if stated is None:
            lines.append(f"| {name} | {fault} | {tokens} | none | |")
            continue
        low, high = clopper_pearson(caught, runs)
        lines.append(
            f"| {name} | {fault} | {tokens} | {stated:.4f} | "
            f"{caught}/{runs} [{low:.3f}, {high:.3f}] |"
        )
    return lines


def write(path, marker, command, lines):
    """Put a table between the markers of its name."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    stamp = (
        f"`{command}`, Python {platform.python_version()}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}."
    )
    body = "\n".join([stamp, "", *lines])
    path.write_text(f"{before}{begin}\n{body}\n{end}{after}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500, help="runs of each lossless engine")
    parser.add_argument("--tokens", type=int, default=1000, help="tokens of a lossless run")
    parser.add_argument("--faulty-runs", type=int, default=60, help="runs of each fault")
    parser.add_argument("--limit", type=int, default=20_000, help="tokens of a faulty run at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("alarms", "detection", "rounding", "priors", "power"))
    parser.add_argument("--write", type=Path, help="put the tables between this page's markers")
    options = parser.parse_args()
    made = {
        "alarms": lambda: false_alarm_table(
            false_alarms(options.seed, options.runs, options.tokens)
        ),
        "detection": lambda: detection_table(
            [
                detection_row(
                    fault, seed=options.seed, runs=options.faulty_runs, tokens=options.limit,
                    vocabulary=512,
                )
                for fault in FAULTS
            ],
            options.limit,
        ),
        "rounding": lambda: rounding_table(
            rounding_rows(options.seed, options.faulty_runs, options.limit, 512), options.limit
        ),
        "priors": lambda: prior_table(options.seed, options.faulty_runs, options.limit),
        "power": lambda: power_table(power_check(options.seed, 200, 2000, 512)),
    }  # fmt: skip
    for name, make in made.items():
        if options.only not in (None, name):
            continue
        started = time.perf_counter()
        lines = make()
        print("\n".join(lines), f"\n{time.perf_counter() - started:.0f} s\n", flush=True)
        if options.write:
            settings = (
                f"--runs {options.runs} --tokens {options.tokens}"
                if name == "alarms"
                else f"--faulty-runs {options.faulty_runs} --limit {options.limit}"
            )
            command = (
                f"python benchmarks/anytime_valid.py --only {name} {settings} --seed {options.seed}"
            )
            write(options.write, name, command, lines)


if __name__ == "__main__":
    main()
