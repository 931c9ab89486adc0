"""False alarms and detection of the anytime-valid test, on simulated engines.

    python benchmarks/anytime_valid.py --write docs/lossless.md

Lossless engines are watched at every token, and rejected if the e-value ever passes 1/α. Faulty
ones are watched until it does. Contexts are arbitrary: 64 of them for each table, where the next
one depends on the token.
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
from draftproof.lossless.evidence.alternatives import ALTERNATIVES, DRAFTS_LAW, Kind
from draftproof.lossless.evidence.decision import (
    READ,
    SCOPE_WEIGHTS,
    SCOPES,
    SHARE_WEIGHTS,
    Reading,
    power_thresholds,
    prior,
)
from draftproof.lossless.evidence.observation import STREAMS, Stream
from draftproof.lossless.evidence.position import locate
from draftproof.lossless.evidence.power import smallest_contamination
from draftproof.lossless.evidence.process import (
    APPLICABLE,
    SHARES,
    alternative_laws,
    denominator,
    likelihood_ratios,
    mixed_logs,
)


@dataclass(frozen=True)
class Ratios:
    """What each outcome multiplies every component by: what the meter adds up, exponentiated.

    Attributes:
        factors: ``[ways, contexts, tokens, components]``, where a way is how a token came (`WAYS`)
            and components are the entries of the prior that are not 0. Infinite where an outcome
            is proof.
        weights: ``[components]``
    """

    factors: np.ndarray
    weights: np.ndarray


WAYS = ("bonus", "kept", "rejected", "unknown")
NEGLIGIBLE = 1e-150
"""Components below this are 0 from then on, which lowers the e-value by next to nothing."""


def component_rows(stream, reading):
    """Which entries of the prior a stream's tokens add to."""
    weights = prior()
    scope_of = dict(zip(READ[reading], range(1, 4), strict=False))
    takes_part = np.zeros(weights.shape, bool)
    takes_part[0, APPLICABLE[stream]] = True
    if stream in scope_of and scope_of[stream] < len(SCOPES):
        takes_part[scope_of[stream], APPLICABLE[stream]] = True
    return takes_part


def spread(logs, stream, reading):
    """Mixed logs ``[applicable, tokens, shares]`` as factors ``[tokens, components]``."""
    full = np.zeros((*prior().shape, logs.shape[1]))
    takes_part = component_rows(stream, reading)
    by_alternative = np.zeros((len(ALTERNATIVES), len(SHARES), logs.shape[1]))
    by_alternative[APPLICABLE[stream]] = logs.transpose(0, 2, 1)
    for scope in range(len(SCOPES)):
        full[scope] = np.where(takes_part[scope][..., None], by_alternative, 0)
    return np.exp(full[prior() > 0].T)


def ratio_tables(tables, rule, reading=Reading.DECLARED, proposals=None):
    """What each outcome adds, computed by the harness's own code."""
    rows = {way: [] for way in WAYS}
    drafted = READ[reading][1]
    for context in range(tables.contexts):
        at = locate(
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
        ).position
        for name, stream, kept in (
            ("kept", drafted, True),
            ("rejected", drafted, False),
            ("bonus", Stream.BONUS, None),
            ("unknown", Stream.UNKNOWN, None),
        ):
            reads = kept if stream is Stream.DRAFTED and at.null is not None else None
            laws = alternative_laws(at, stream)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = likelihood_ratios(at, laws, stream, reads, slice(None))
                impossible = (denominator(at, reads) == 0) | (at.p == 0)
                logs = mixed_logs(np.where(impossible, 1.0, ratios))
            components = spread(logs, stream, reading)
            components[impossible] = np.inf
            rows[name].append(components.astype(np.float32))
    factors = np.stack([np.stack(rows[way]) for way in WAYS])
    return Ratios(factors=factors, weights=prior()[prior() > 0])


def first_passages(engine, ratios, *, seed, runs, tokens, alphas, told=True):
    """For each α and run the first token at which the e-value is at least 1/α; else 0."""
    generator = np.random.default_rng(seed)
    products = np.tile(ratios.weights, (runs, 1))
    found = np.zeros((len(alphas), runs), int)
    active = np.ones(runs, bool)
    for index, (context, place, kept, token) in enumerate(engine.runs(generator, runs, tokens)):
        live = np.flatnonzero(active)
        way = np.where(place == engines.BONUS, 0, np.where(kept, 1, 2)) if told else 3 + 0 * place
        with np.errstate(invalid="ignore"):
            products[live] *= ratios.factors[way[live], context[live], token[live]]
        values = products[live].sum(axis=1)
        values[~np.isfinite(values)] = np.inf
        for row, alpha in enumerate(alphas):
            passed = live[(values >= 1 / alpha) & (found[row, live] == 0)]
            found[row, passed] = index + 1
        active[live] = (found[:, live] == 0).any(axis=0)
        if not active.any():
            break
        if index % 10 == 9:
            products[products < NEGLIGIBLE] = 0
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
            ratios = ratio_tables(tables, rule, proposals=proposals)
            found = first_passages(
                engine, ratios, seed=[seed, len(rows)], runs=runs, tokens=tokens, alphas=ALPHAS,
                told=told,
            )  # fmt: skip
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


def detection(fault, *, seed, runs, tokens, vocabulary, prior_weights=None):
    """Tokens until rejection, as (median, 90% quantile): told what was kept, and not told."""
    tables = tables_for(fault, seed, vocabulary)
    engine = engines.faulty(fault, tables)
    figures = []
    for rule, told in ((DeclaredRule.REJECTION, True), (DeclaredRule.OTHER, False)):
        ratios = ratio_tables(tables, rule)
        if prior_weights is not None:
            ratios = dataclasses.replace(ratios, weights=prior_weights[prior() > 0])
        found = first_passages(
            engine, ratios, seed=[seed, vocabulary], runs=runs, tokens=tokens, alphas=(ALPHA,),
            told=told,
        )[0]  # fmt: skip
        reached = np.where(found > 0, found, np.inf)
        figures.append(np.quantile(reached, [0.5, POWER], method="higher"))
    return figures


def detection_row(fault, *, seed, runs, tokens, vocabulary):
    tables = tables_for(fault, seed, vocabulary)
    engine = engines.faulty(fault, tables)
    told, untold = detection(fault, seed=seed, runs=runs, tokens=tokens, vocabulary=vocabulary)
    try:
        law = engine.emitted_law()
    except NotImplementedError:
        return fault, told, untold, None, None, None
    variation = float(np.median(np.abs(law - tables.p).sum(axis=1) / 2))
    return (
        fault, told, untold, tokens_if_known(tables.p, law), chi_square_tokens(tables.p, law),
        variation,
    )  # fmt: skip


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
    weights /= weights[:, :, :1].sum(axis=1, keepdims=True)
    return weights * np.array(scopes)[:, None, None] * np.array(shares)


# Power ------------------------------------------------------------------------------------------


def power_check(seed, runs, tokens, vocabulary):
    """The contamination that `judge` states for a lossless run, and how often it is caught."""
    tables = engines.random_tables(seed, vocabulary)
    p, q = tables.p, tables.q
    rows = []
    for told, rule in ((True, DeclaredRule.REJECTION), (False, DeclaredRule.OTHER)):
        by_context = [moments_of(tables, context, rule, told) for context in range(tables.contexts)]
        visits = np.zeros(tables.contexts)
        generator = np.random.default_rng(seed)
        for context, *_ in engines.lossless(tables).runs(generator, 1, tokens):
            visits[context] += 1
        stated = smallest_contamination(
            np.einsum("c,csm->sm", visits, np.array(by_context)),
            power_thresholds(ALPHA, DRAFTS_LAW)[1:],
            0.95,
        )
        keep = (1 - stated) * engines.smaller_of_1(p, q) + stated
        engine = dataclasses.replace(engines.lossless(tables), keep=keep)
        found = first_passages(
            engine, ratio_tables(tables, rule), seed=[seed, 1], runs=runs, tokens=tokens,
            alphas=(ALPHA,), told=told,
        )[0]  # fmt: skip
        rows.append((told, tokens, stated, int((found > 0).sum()), runs))
    return rows


def moments_of(tables, context, rule, told):
    meter = EvidenceMeter(rule)
    meter.observe(
        Observation(
            target=tables.p[context],
            draft=tables.q[context],
            token=int(tables.p[context].argmax()),
            site=Site.ACCEPTED if told else Site.UNKNOWN,
        )
    )
    return meter.evidence.moments[STREAMS.index(Stream.DRAFTED if told else Stream.UNKNOWN)]


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
        "| fault | TV | told: median | 90% | not told: median | 90% | if known | chi-square |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for fault, told, untold, known, fixed, variation in rows:
        size = "–" if variation is None else f"{variation:.3f}"
        cells = [f"{x:.0f}" if np.isfinite(x) else f"> {limit}" for x in (*told, *untold)]
        lines.append(
            f"| {fault} | {size} | {' | '.join(cells)} | {figure(known)} | {figure(fixed)} |"
        )
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
                fault, seed=seed, runs=runs, tokens=tokens, vocabulary=32, prior_weights=weights
            )
            cells.append(" / ".join(f"{median:.0f}" for median, _ in found))
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    return lines


def power_table(rows):
    lines = [
        "| | tokens | stated contamination | caught |",
        "|---|---:|---:|---:|",
    ]
    for told, tokens, stated, caught, runs in rows:
        low, high = clopper_pearson(caught, runs)
        name = "told what was kept" if told else "not told"
        lines.append(
            f"| {name} | {tokens} | {stated:.4f} | {caught}/{runs} [{low:.3f}, {high:.3f}] |"
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
    parser.add_argument("--only", choices=("alarms", "detection", "priors", "power"))
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
        "priors": lambda: prior_table(options.seed, options.faulty_runs, options.limit),
        "power": lambda: power_table(power_check(options.seed, 400, 2000, 512)),
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
