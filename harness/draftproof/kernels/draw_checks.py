"""Checks of a kernel's own draws: seeds, draw counts, and independence of rows and calls."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from scipy.stats import binom, chi2_contingency, norm

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.adversarial import dense_table
from draftproof.kernels.calling import Reading, Tables, called
from draftproof.kernels.chance import ROWS, open_table
from draftproof.kernels.contract import END, RandomSource
from draftproof.kernels.examination import Examination
from draftproof.kernels.sampling import Source

MOST_DRAWS = 200_000

FLAT = 400
"""Ids of the table on which two rows seldom emit the same."""

SPREAD = {2: 1000, 5: 600, 64: 200}
"""Rows of a call, and how many such calls are compared by their counts."""

LAGS = (1, 2, 3, 4, 7, 16, 64, 100, 256)
"""How far rows stand apart whose tokens are looked at together."""

_UNIFORMS = Finding(
    status=Status.NOT_AVAILABLE, lines=("it draws nothing: its uniforms are given to it",)
)


def same_seed(examination: Examination) -> Finding:
    """A generator in the same state gives the same tokens, and in another state others."""
    facts = examination.facts
    if facts.randomness is not RandomSource.GENERATOR:
        return _UNIFORMS if examination.exact else _no_generator()
    batch = Tables([open_table(examination.facts)], facts)
    rows = np.zeros(1 if facts.one_row else ROWS, np.int64)

    def tokens(seed: int) -> np.ndarray:
        generator = torch.Generator(facts.device)
        found = []
        generator.manual_seed(seed)
        for _ in range(64 if facts.one_row else 1):
            call = batch.call(rows, None, generator)
            found.append(batch.read(called(examination.kernel, call), len(rows)).tokens)
        return np.concatenate(found)

    first, again, other = tokens(1), tokens(1), tokens(2)
    problems = []
    if not np.array_equal(first, again):
        problems.append(
            "two calls with the generator in the same state emit other tokens: something else is "
            "drawn from, or the result depends on timing"
        )
    if np.array_equal(first, other):
        problems.append("two seeds of the generator give the same tokens: it is not drawn from")
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=3,
        places=3 * len(first),
        place="rows",
        lines=tuple(problems),
    )


def draws(examination: Examination) -> Finding:
    """Its chance is what it is given, or its own: nothing is seeded, no call repeats another."""
    facts, chance = examination.facts, examination.chance
    rows = 2 * (ROWS // 8 if facts.one_row else ROWS)
    told: dict[str, object] = {"seeds": list(chance.seeded), "draws_from": list(chance.drawn)}
    problems = [] if chance.problem is None else [chance.problem]
    lines = [f"draws from {' and '.join(chance.drawn)}"] if chance.drawn else []
    if facts.randomness is RandomSource.GENERATOR and facts.device == "cpu" and not problems:
        count, asked = _draw_count(examination)
        if count is not None:
            told["draws_a_row"] = count / asked
            lines.append(f"{count / asked:.3g} uniforms' worth of draws a row")
            if count < asked:
                problems.append(
                    f"{count} draws for {asked} rows with a coin each: rows share their draws"
                )
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=1,
        places=rows,
        place="rows",
        lines=(*problems, *lines),
        facts=told,
    )


def _draw_count(examination: Examination) -> tuple[int | None, int]:
    """The draws of one call from the generator that it is given, and its rows."""
    facts = examination.facts
    rows = np.zeros(1 if facts.one_row else ROWS, np.int64)
    generator = torch.Generator(facts.device)
    generator.manual_seed(3)
    start = generator.get_state()
    batch = Tables([open_table(facts)], facts)
    called(examination.kernel, batch.call(rows, None, generator))
    return _count(start, generator), len(rows)


def _count(start: torch.Tensor, used: torch.Generator) -> int | None:
    """How many float32 uniforms bring a generator from one state to another's; None if too many."""
    probe = torch.Generator()
    probe.set_state(start)
    end = used.get_state()
    # Single draws and large ones advance the state differently; count single ones.
    for count in range(1, MOST_DRAWS):
        torch.rand(1, generator=probe)
        if torch.equal(probe.get_state(), end):
            return count
        if count > 8192:
            return None
    return None


def independence(examination: Examination) -> Finding:
    """Rows of one batch, and calls after one another, are independent."""
    if examination.exact:
        return _UNIFORMS
    problems, rows = dependence(examination)
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=rows,
        places=rows,
        place="rows",
        lines=tuple(problems),
    )


def dependence(examination: Examination) -> tuple[list[str], int]:
    """In which ways rows of a kernel that draws by itself are not independent, and rows asked."""
    ways = [_shared]
    if not examination.facts.one_row:
        ways += [_spread]
    ways += [_dependent]
    found = [way(examination) for way in ways]
    return [problem for problems, _ in found for problem in problems], sum(n for _, n in found)


def _dependent(examination: Examination) -> tuple[list[str], int]:
    """Pairs of rows whose emissions go together, by a χ² test of independence, and rows asked."""
    facts = examination.facts
    batch = Tables([open_table(facts)], facts)
    source = Source(facts, examination.seed + 11)
    size = 400 if facts.one_row else 4096
    half = size // 2
    names = {
        "the same row of two calls": 0,
        "a row of one call and the last but as many of the next": -1,
        "rows half a batch apart": half,
        "the first rows and the last, in the opposite order": -2,
        **{f"rows {lag} apart" if lag > 1 else "rows side by side": lag for lag in LAGS},
    }
    pairs: dict[str, Counter[tuple[tuple[int, ...], tuple[int, ...]]]] = {
        name: Counter() for name in names
    }
    for _ in range(3):
        first, second = (
            _emissions(
                batch.run(examination.kernel, np.zeros(size, np.int64), None, source.generator)
            )
            for _ in range(2)
        )
        for name, lag in names.items():
            if lag == 0:
                pairs[name].update(zip(first, second, strict=True))
            elif lag == -1:
                pairs[name].update(zip(first, reversed(second), strict=True))
            elif lag == -2:
                pairs[name].update(zip(second[:half], second[: half - 1 : -1], strict=False))
            else:
                # Every row in one pair at most, so that pairs are independent.
                starts = [at for at in range(size - lag) if (at // lag) % 2 == 0]
                pairs[name].update((first[at], first[at + lag]) for at in starts)
    # The tail of χ² is a nearly right one: a tenth of α makes up for the difference.
    alpha = examination.alpha / (20 * len(names))
    problems = []
    for name, counts in pairs.items():
        p_value = _p_value(counts)
        if p_value < alpha:
            problems.append(f"{name} are not independent (p = {p_value:.1g})")
    return problems, 6 * size


def _p_value(pairs: Counter[tuple[tuple[int, ...], tuple[int, ...]]]) -> float:
    """Of independence; what is emitted in less than 5% of pairs counts as one."""
    marginal: Counter[tuple[int, ...]] = Counter()
    for emissions, amount in pairs.items():
        for emission in emissions:
            marginal[emission] += amount
    least = 0.1 * pairs.total()
    frequent = [emission for emission, amount in marginal.items() if amount >= least]
    place = {emission: index for index, emission in enumerate(frequent)}
    table = np.zeros((len(frequent) + 1, len(frequent) + 1))
    for (one, other), amount in pairs.items():
        table[place.get(one, -1), place.get(other, -1)] += amount
    table = table[table.sum(1) >= least / 2][:, table.sum(0) >= least / 2]
    if min(table.shape) < 2:
        return 1.0
    return float(chi2_contingency(table, correction=False).pvalue)


def _spread(examination: Examination) -> tuple[list[str], int]:
    """Whether calls differ in how often they emit the same, as much as independent rows do."""
    problems, asked = [], 0
    for size, calls in SPREAD.items():
        problem = _spread_of(examination, size, calls)
        problems += [] if problem is None else [problem]
        asked += size * calls
    return problems, asked


def _spread_of(examination: Examination, size: int, calls: int) -> str | None:
    facts = examination.facts
    batch = Tables([open_table(facts)], facts)
    source = Source(facts, examination.seed + 13 + size)
    emitted = [
        _emissions(batch.run(examination.kernel, np.zeros(size, np.int64), None, source.generator))
        for _ in range(calls)
    ]
    likeliest, _ = Counter(one for call in emitted for one in call).most_common(1)[0]
    counts = np.array([call.count(likeliest) for call in emitted])
    share = counts.mean() / size
    if share == 1:
        return None
    own = size * share * (1 - share)
    squares = float(((counts - counts.mean()) ** 2).sum() / own)
    # A square of a binomial count has mean 1 and this variance; their sum is nearly normal.
    variance = 2 + (1 - 6 * share * (1 - share)) / own
    away = (squares - (calls - 1)) / np.sqrt(calls * variance)
    # A tenth of α makes up for the difference.
    if 2 * norm.sf(abs(away)) >= examination.alpha / (20 * len(SPREAD)):
        return None
    how = "share draws" if away > 0 else "are spread evenly, not drawn"
    return (
        f"calls of {size} rows differ in how often they emit the same by {squares / calls:.2g} "
        f"times the variance of independent rows: rows of a call {how}"
    )


def _emissions(reading: Reading) -> list[tuple[int, ...]]:
    return [tuple(token for token in row if token != END) for row in reading.tokens.tolist()]


def _shared(examination: Examination) -> tuple[list[str], int]:
    """Distances at which rows emit the same far more often than rows do at random.

    Of two calls together, on a table where two rows seldom agree; so that any distance may be
    looked at, those between the calls among them.
    """
    facts = examination.facts
    batch = Tables([dense_table(facts, FLAT)], facts)
    source = Source(facts, examination.seed + 12)
    size = 300 if facts.one_row else 2048
    calls = [
        batch.run(examination.kernel, np.zeros(size, np.int64), None, source.generator)
        for _ in range(2)
    ]
    width = max(call.tokens.shape[1] for call in calls)
    tokens = np.concatenate(
        [
            np.pad(c.tokens, ((0, 0), (0, width - c.tokens.shape[1])), constant_values=END)
            for c in calls
        ]
    )
    _, codes, amounts = np.unique(tokens, axis=0, return_inverse=True, return_counts=True)
    codes, rows = codes.ravel(), len(tokens)
    # Twice the rate at which any two rows agree: more than chance makes of it at any distance.
    rate = min(1.0, 2 * float((amounts * (amounts - 1)).sum()) / (rows * (rows - 1)))
    alpha = examination.alpha / (4 * rows)
    problems = []
    for lag in range(1, rows - 20):
        # Two sets of pairs, in each of which no row stands twice.
        own = np.flatnonzero(codes[lag:] == codes[:-lag])
        for part in (0, 1):
            pairs = int(((np.arange(rows - lag) // lag) % 2 == part).sum())
            same = int(((own // lag) % 2 == part).sum())
            if same > 3 and binom.sf(same - 1, pairs, rate) < alpha:
                where = "" if lag < size else ", of one call and the next"
                problems.append(
                    f"rows {lag} apart{where} emit the same in {same:,} of {pairs:,} pairs (at "
                    f"random in about {pairs * rate / 2:.0f}): they share their draws"
                )
                break
        if len(problems) == 3:
            break
    mirrored = int((codes[:size] == codes[size:][::-1]).sum())
    if mirrored > 3 and binom.sf(mirrored - 1, size, rate) < examination.alpha / 4:
        problems.append(
            f"a call emits in the opposite order what the call before did, in {mirrored:,} of "
            f"{size:,} rows: they share their draws"
        )
    return problems, rows


def _no_generator() -> Finding:
    return Finding(status=Status.NOT_AVAILABLE, lines=("it takes no generator",))
