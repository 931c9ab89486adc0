"""How often the gate cries wolf, and how often it sees a fall: measured where the truth is known.

    python benchmarks/gate_power.py --comparisons 1000 --reruns reruns.npz --write docs/gate.md

False alarms are counted on comparisons in which nothing changed: simulated ones, steps of the
committed report of the built-in pair drawn anew, and real runs of the built-in pair with other
seeds (`benchmarks/builtin_reruns.py` makes them); on simulated ones in which every prompt changed
and the whole did not; and on figures that lie at their bound. Power is counted on simulated falls
of the acceptance rate.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from draftproof.environment import hardware
from draftproof.gate.expression import OVERALL, RATIOS, Gate, parse_gate
from draftproof.gate.judging import Judgement, Outcome, decide, judge, without_figures
from draftproof.gate.paired import PairedSums, moments
from draftproof.report import load_run

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- power:begin -->", "<!-- power:end -->"
ALPHA = 0.05
DOMAINS = {"code": 0.58, "math": 0.48, "logic": 0.45, "chat": 0.55}
"""Simulated probability that a drafted token is accepted, given that the one before it was."""
LENGTH, STEPS = 4, 20
FALLS = (0.0, 0.01, 0.02, 0.05, 0.10)
PROMPTS = (25, 50, 100, 200)
FEW_PROMPTS = (5, 8, 16, 25, 50, 200)
POWER_GATES = ("acceptance_rate:-0%", "acceptance_rate:-5%", "acceptance_rate@overall:-2%")
Sums = dict[str, np.ndarray]


# Runs -----------------------------------------------------------------------------------------


def simulated_pair(generator, rate, prompts, fall, *, same_texts):
    """Two runs of a domain; the later one accepts nothing in a share `fall` of its steps.

    Prompts differ (beta). Where the runs do not share their texts, a prompt's own rate moves from
    run to run as well, and so does its number of steps.
    """
    logit = np.log(rate / (1 - rate)) + generator.normal(0, 0.5, prompts)
    before = _simulated_run(generator, logit, same_texts=same_texts)
    lengths, steps = before if same_texts else _simulated_run(generator, logit, same_texts=False)
    struck = generator.random(lengths.shape) < fall
    return _as_sums(*before), _as_sums(np.where(struck, 0, lengths), steps)


def _simulated_run(generator, logit, *, same_texts):
    own = logit + (0 if same_texts else generator.normal(0, 0.25, logit.shape))
    rate = 1 / (1 + np.exp(-own))
    draws = generator.geometric(1 - rate[:, None], (len(logit), 2 * STEPS)) - 1
    steps = np.clip(generator.poisson(STEPS, len(logit)), 4, 2 * STEPS)
    return np.minimum(draws, LENGTH), steps


def _as_sums(lengths: np.ndarray, steps: np.ndarray) -> Sums:
    counted = np.arange(lengths.shape[1]) < steps[:, None]
    accepted = (lengths * counted).sum(axis=1).astype(float)
    return {
        "accepted": accepted,
        "accepted_of_drafted": accepted,
        "drafted": LENGTH * steps.astype(float),
        "steps": steps.astype(float),
        "committed_tokens": accepted + steps,
    }


def simulated(comparisons, prompts, fall, seed, *, same_texts):
    for run in range(comparisons):
        generator = np.random.default_rng([seed, run, prompts, round(1000 * fall)])
        yield {
            domain: simulated_pair(generator, rate, prompts, fall, same_texts=same_texts)
            for domain, rate in DOMAINS.items()
        }


def resampled_report(comparisons, seed) -> Iterator[dict[str, tuple[Sums, Sums]]]:
    """Both runs draw their steps anew from those of the built-in pair's committed report."""
    cases = load_run(ROOT / "reports" / "builtin").cases
    for run in range(comparisons):
        generator = np.random.default_rng([seed, run])
        pairs = {}
        for domain in DOMAINS:
            own = [case for case in cases if case.domain == domain]
            pairs[domain] = tuple(_drawn(generator, own) for _ in range(2))
        yield pairs


def _drawn(generator, cases) -> Sums:
    rows = []
    for case in cases:
        columns = [case.steps[name] for name in ("accepted_length", "nodes", "committed_tokens")]
        drawn = generator.integers(0, len(columns[0]), len(columns[0]))
        rows.append([column[drawn].sum() for column in columns] + [len(drawn)])
    names = ("accepted", "drafted", "committed_tokens", "steps")
    sums = dict(zip(names, np.array(rows, float).T, strict=True))
    return {**sums, "accepted_of_drafted": sums["accepted"]}


def reruns(path, comparisons, prompts, seed) -> Iterator[dict[str, tuple[Sums, Sums]]]:
    """Two runs with other seeds at temperature 1, the two seeds drawn anew for every prompt."""
    stored = np.load(path)
    totals, names, domains = stored["totals"], stored["names"].tolist(), stored["domains"]
    for run in range(comparisons):
        generator = np.random.default_rng([seed, run, prompts])
        pairs = {}
        for domain in DOMAINS:
            columns = np.flatnonzero(domains == domain)
            columns = generator.permutation(columns)[:prompts]
            seeds = np.array([generator.permutation(len(totals))[:2] for _ in columns])
            pairs[domain] = tuple(
                {name: totals[seeds[:, side], i, columns] for i, name in enumerate(names)}
                for side in range(2)
            )
        yield pairs


# Unequal effects ------------------------------------------------------------------------------


def same_effect(generator, prompts):
    """Nothing changed."""
    return np.zeros(prompts)


def tenth_up(generator, prompts):
    """One prompt in ten rises by .36, the others fall by .04: nothing changed over all prompts."""
    return np.where(generator.random(prompts) < 0.1, 0.36, -0.04)


def half_up(generator, prompts):
    """Half of the prompts rise by .15, the others fall by as much."""
    return np.where(generator.random(prompts) < 0.5, 0.15, -0.15)


def balanced(generator, prompts):
    """As `tenth_up`, but the very prompts of the run balance: their sum did not change."""
    up = max(1, prompts // 10)
    return np.where(np.arange(prompts) < up, 0.3, -0.3 * up / (prompts - up))


def unequal_pair(generator, prompts, nodes, effect, *, drafted=1.0):
    """Two runs of one domain whose prompts each change by an effect of their own."""
    rate = np.clip(generator.beta(8, 8, prompts), 0.3, 0.6)
    below = np.full(prompts, nodes)
    spread = generator.normal(0, 0.5, prompts) if drafted != 1 else 0
    later = np.maximum(1, drafted * nodes * np.exp(spread)).astype(int)
    return PairedSums(
        numerator_before=generator.binomial(below, rate).astype(float),
        denominator_before=below.astype(float),
        numerator_now=generator.binomial(
            later, np.clip(rate + effect(generator, prompts), 0, 1)
        ).astype(float),
        denominator_now=np.broadcast_to(later, prompts).astype(float),
    )


UNEQUAL = (
    ("no prompt changes", same_effect, 1.0, 80),
    ("no prompt changes, a third is drafted", same_effect, 1 / 3, 80),
    ("half up, half down", half_up, 1.0, 80),
    ("a tenth up, the rest down", tenth_up, 1.0, 80),
    ("a tenth up, the rest down", tenth_up, 1.0, 400),
    ("a tenth up, the rest down", tenth_up, 1.0, 4000),
    ("a tenth up, the rest down, balanced over the very prompts", balanced, 1.0, 400),
)
"""What happens to each prompt; how much is drafted later; and drafted tokens a prompt: with more of
them there is less noise."""


def unequal_rows(arguments):
    """One two-way gate with margin 0 on one domain; nothing changed on the whole."""
    gate = parse_gate("acceptance_rate:-0")
    for name, effect, drafted, nodes in UNEQUAL:
        cells = []
        for prompts in FEW_PROMPTS:
            generator = np.random.default_rng([arguments.seed, prompts, nodes])
            failed = 0
            for _ in range(arguments.comparisons):
                pair = unequal_pair(generator, prompts, nodes, effect, drafted=drafted)
                failed += _fails(gate, pair)
            cells.append(failed)
        yield name, nodes, cells


def bound_rows(arguments):
    """One floor on one domain whose figure lies at it: prompts' rates are a beta of that mean."""
    for rate in (0.05, 0.3, 0.6):
        gate = parse_gate(f"acceptance_rate:>={rate}")
        cells = []
        for prompts in FEW_PROMPTS:
            generator = np.random.default_rng([arguments.seed, prompts, round(100 * rate)])
            failed = 0
            for _ in range(arguments.comparisons):
                steps = np.clip(generator.poisson(STEPS, prompts), 4, 2 * STEPS)
                own = generator.beta(8 * rate, 8 * (1 - rate), prompts)
                above = generator.binomial(LENGTH * steps, own).astype(float)
                sums = PairedSums.beside_bound(above, LENGTH * steps.astype(float), rate)
                failed += _fails(gate, sums)
            cells.append(failed)
        yield gate.text, cells


def _fails(gate: Gate, sums: PairedSums) -> bool:
    (found,) = decide([judged(gate, "code", sums)], ALPHA)
    return found.outcome is Outcome.FAIL


def judged(gate: Gate, scope: str, sums: PairedSums) -> Judgement:
    """The gate's judgement, without its draws where they could decide nothing.

    A change that is within one standard error of a margin has p-values far above α there.
    """
    both = moments(sums)
    for margin in (-gate.fall, gate.rise):
        if math.isfinite(margin):
            back = both.moved(margin, relative=gate.relative)
            if not abs(float(back.change)) < float(back.error(sums.prompts)):
                return judge(gate, scope, sums, 0.95, interval=False)
    return without_figures(gate, scope, sums.prompts)


# Gates ----------------------------------------------------------------------------------------


def outcome(gates: list[Gate], pairs: dict[str, tuple[Sums, Sums]]) -> Outcome:
    """What the gates come to together."""
    whole = {OVERALL: tuple(_together(runs) for runs in zip(*pairs.values(), strict=True))}
    together = [
        judged(gate, scope, _paired(gate, *runs))
        for gate in gates
        for scope, runs in (whole if gate.scope == OVERALL else pairs).items()
    ]
    outcomes = {judgement.outcome for judgement in decide(together, ALPHA)}
    worst = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS)
    return next(outcome for outcome in worst if outcome in outcomes)


def _together(runs: tuple[Sums, ...]) -> Sums:
    return {name: np.concatenate([sums[name] for sums in runs]) for name in runs[0]}


def _paired(gate: Gate, before: Sums, now: Sums) -> PairedSums:
    ratio = RATIOS[gate.metric]
    return PairedSums(
        numerator_before=before[ratio.numerator],
        denominator_before=before[ratio.denominator],
        numerator_now=now[ratio.numerator],
        denominator_now=now[ratio.denominator],
    )


def shares(gates, comparisons) -> dict[Outcome, int]:
    counts = dict.fromkeys(Outcome, 0)
    for pairs in comparisons:
        counts[outcome(gates, pairs)] += 1
    return counts


def false_alarm_rows(arguments):
    """Nothing changed, and the margins are 0: whatever fails is a false alarm."""
    texts = ("acceptance_rate:-0", "accepted_length:-0", "block_efficiency:-0")
    gates = [parse_gate(text) for text in texts]
    n, seed = arguments.comparisons, arguments.seed
    runs = {
        f"simulated, other texts, {prompts} prompts a domain": simulated(
            n, prompts, 0.0, seed, same_texts=False
        )
        for prompts in PROMPTS
    }
    runs["built-in pair: steps of reports/builtin drawn anew, 50 prompts a domain"] = (
        resampled_report(n, seed)
    )
    if arguments.reruns:
        with_model = [*gates, parse_gate("acceptance_probability:-0")]
        seeds = len(np.load(arguments.reruns)["totals"])
        for prompts in (25, 50):
            name = (
                f"built-in pair at temperature 1, two of {seeds} seeds, {prompts} prompts a domain"
            )
            yield (
                name,
                len(with_model) * 4,
                shares(with_model, reruns(arguments.reruns, n, prompts, seed)),
            )
    for name, pairs in runs.items():
        yield name, len(gates) * 4, shares(gates, pairs)


def power_rows(arguments):
    for same_texts in (False, True):
        for text in POWER_GATES:
            for prompts in PROMPTS:
                cells = [
                    shares(
                        [parse_gate(text)],
                        simulated(
                            arguments.power_comparisons,
                            prompts,
                            fall,
                            arguments.seed,
                            same_texts=same_texts,
                        ),
                    )
                    for fall in FALLS
                ]
                yield "same texts" if same_texts else "other texts", text, prompts, cells


# Table ----------------------------------------------------------------------------------------


def _percent(count: int, total: int) -> str:
    return f"{count / total:.1%}"


def table(arguments, command: str) -> str:
    n, m = arguments.comparisons, arguments.power_comparisons
    lines = [
        "| nothing changed; margins 0, α .05 | tests | comparisons | false alarms | 95% interval |",
        "|---|---:|---:|---:|---|",
    ]
    for name, tests, counts in false_alarm_rows(arguments):
        failed, total = counts[Outcome.FAIL], sum(counts.values())
        interval = binomtest(failed, total).proportion_ci()
        lines.append(
            f"| {name} | {tests} | {total} | {_percent(failed, total)} | "
            f"{interval.low:.1%}–{interval.high:.1%} |"
        )
        print(lines[-1], flush=True)
    heads = " | ".join(f"{prompts} prompts" for prompts in FEW_PROMPTS)
    lines += [
        "",
        f"| one gate, margin 0, α .05, nothing changed on the whole | nodes a prompt | {heads} |",
        "|---|---:|" + "---:|" * len(FEW_PROMPTS),
    ]
    for name, nodes, cells in unequal_rows(arguments):
        shown = " | ".join(_percent(cell, n) for cell in cells)
        lines.append(f"| {name} | {nodes:,} | {shown} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"| one floor at the figure itself, α .05 | {heads} |",
        "|---|" + "---:|" * len(FEW_PROMPTS),
    ]
    for text, cells in bound_rows(arguments):
        lines.append(f"| `{text}` | {' | '.join(_percent(cell, n) for cell in cells)} |")
        print(lines[-1], flush=True)
    falls = " | ".join(f"fall {fall:.0%}" for fall in FALLS)
    lines += [
        "",
        f"| runs share | gate | prompts a domain | {falls} |",
        "|---|---|---:|" + "---:|" * len(FALLS),
    ]
    for texts, gate, prompts, cells in power_rows(arguments):
        shown = " | ".join(
            f"{_percent(cell[Outcome.FAIL], m)} / {_percent(cell[Outcome.PASS], m)}"
            for cell in cells
        )
        lines.append(f"| {texts} | `{gate}` | {prompts} | {shown} |")
        print(lines[-1], flush=True)
    machine = hardware()
    head = (
        f"`{command}`: {n:,} comparisons a cell of the first tables and {m:,} of "
        f"the last, Python {platform.python_version()}, numpy "
        f"{np.__version__}, scipy {scipy.__version__}; {machine['cpus']} × {machine['cpu']}. "
        "Built-in pair: a toy pair, whose figures describe only itself."
    )
    return "\n".join([head, "", *lines])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--power-comparisons", type=int, default=200)
    parser.add_argument("--reruns", type=Path, help="what benchmarks/builtin_reruns.py wrote")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="put the tables between this file's markers")
    arguments = parser.parse_args()
    command = f"python benchmarks/gate_power.py --comparisons {arguments.comparisons}"
    command += f" --power-comparisons {arguments.power_comparisons}"
    command += f" --reruns {arguments.reruns.name}" if arguments.reruns else ""
    command += f" --seed {arguments.seed}"
    text = table(arguments, command)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
