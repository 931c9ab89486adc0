"""Writes docs/rules.md: what each acceptance rule is valid for, and how much it keeps.

    python docs/make_rules.py [--prompts N]

The first table is computed exactly, by enumeration of one step on three named pairs of distributions
from fixtures/adversarial. The second is measured on the built-in pair at temperature 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
from pathlib import Path

import torch

from harness import Bench, ReferenceEngine, RunConfig, Sampling, load_pair
from harness.acceptance import make_rule
from harness.data import DOMAINS, load_prompts
from harness.drafting import make_drafter
from harness.environment import hardware, versions
from harness.laws import RULES
from harness.lossless.exact_law import accepted_length_law
from harness.lossless.transport import best_acceptance, sibling_sets
from harness.models.table import TableLM
from harness.sampling import TokenLaw
from harness.shapes import parse_tree
from harness.statistics import summarise

PAGE = Path(__file__).parent / "rules.md"
ADVERSARIAL = PAGE.parent.parent / "fixtures" / "adversarial" / "distributions.json"
FIXTURES = ("no-residual", "leniency", "sibling-law")
STEPS = (
    ("rejection", "chain:3"),
    ("block", "chain:3"),
    ("point-mass", "2x2"),
    ("multi-round", "sampled:2x2"),
    ("traversal", "sampled:2x2"),
    ("without-replacement", "distinct:2x2"),
    ("traversal", "distinct:2x2"),
    ("typical", "2x2"),
)
RUNS = tuple((rule, text.replace("2x2", "3x2")) for rule, text in STEPS)


def distributions(name):
    entries = json.loads(ADVERSARIAL.read_text(encoding="utf-8"))
    entry = next(entry for entry in entries if entry["name"] == name)
    return [torch.tensor(entry[key], dtype=torch.float64) for key in ("p", "q")]


def expected_accepted_length(rule, text, name):
    """Exact mean of one step, the same p and q at every position."""
    p, q = distributions(name)
    shape = parse_tree(text)
    lengths = accepted_length_law(
        (0, 1),
        TableLM(lambda context: p, len(p)),
        make_drafter(shape, TableLM(lambda context: q, len(q))),
        make_rule(rule, shape, is_greedy=False),
        law=TokenLaw(Sampling(temperature=1.0)),
    )
    return math.fsum(length * probability for length, probability in lengths.items())


def first_level(rule, text, name):
    """The share of the optimal transport's value that a rule reaches with one level of siblings."""
    p, q = distributions(name)
    shape = parse_tree(text.replace("2x2", "1x2").replace("chain:3", "chain:1"))
    lengths = accepted_length_law(
        (0, 1),
        TableLM(lambda context: p, len(p)),
        make_drafter(shape, TableLM(lambda context: q, len(q))),
        make_rule(rule, shape, is_greedy=False),
        law=TokenLaw(Sampling(temperature=1.0)),
    )
    if shape.law == "deterministic":
        best = sorted(range(len(q)), key=lambda token: (-float(q[token]), token))[:2]
        siblings = {tuple(best): 1.0}
    else:
        count = 1 if shape.is_chain else shape.branching
        siblings = sibling_sets(q.tolist(), count, shape.law)
    return lengths.get(1, 0.0) / best_acceptance(p.tolist(), siblings)


def exact_table():
    rows = [
        "| rule | draft | " + " | ".join(FIXTURES) + " |",
        "|---|---|" + "---:|" * len(FIXTURES),
    ]
    for rule, text in STEPS:
        cells = []
        for name in FIXTURES:
            length = expected_accepted_length(rule, text, name)
            share = "" if not RULES[rule].lossless else f" ({first_level(rule, text, name):.3f})"
            cells.append(f"{length:.4f}{share}")
        lossy = "" if RULES[rule].lossless else " (LOSSY)"
        rows.append(f"| {rule}{lossy} | {text} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def measured_table(prompts):
    rows = [
        "| rule | draft | prompts | steps | accepted length | block efficiency |",
        "|---|---|---:|---:|---:|---:|",
    ]
    pair = load_pair(RunConfig())
    cases = [prompt for domain in DOMAINS for prompt in load_prompts(domain, limit=prompts)]
    for rule, text in RUNS:
        config = RunConfig(tree=parse_tree(text), rule=rule, sampling=Sampling(temperature=1.0))
        engine = Bench(ReferenceEngine(pair, config), pair, config)
        overall = summarise([engine.run(prompt) for prompt in cases]).overall
        cells = [
            f"{estimate.value:.2f} ({estimate.low:.2f}–{estimate.high:.2f})"
            for estimate in (
                overall.metrics["accepted_length"],
                overall.metrics["block_efficiency"],
            )
        ]
        lossy = "" if RULES[rule].lossless else " (LOSSY)"
        rows.append(
            f"| {rule}{lossy} | {text} | {overall.prompts} | {overall.steps:,} | "
            + " | ".join(cells)
            + " |"
        )
        print(rows[-1], flush=True)
    return "\n".join(rows)


def rules_table():
    rows = ["| rule | valid for siblings that are | lossless | what it does |", "|---|---|---|---|"]
    acceptance = importlib.import_module("harness.acceptance")
    for name, facts in RULES.items():
        laws = ", ".join(sorted(law.replace("_", " ") for law in facts.laws))
        if facts.chains_only:
            laws = f"chains: {laws}"
        lossless = (
            "**no**" if not facts.lossless else ("at temperature 0" if facts.greedy_only else "yes")
        )
        shape = parse_tree("chain:1")
        first_line = type(acceptance.make_rule(name, shape, is_greedy=True)).__doc__.splitlines()[0]
        rows.append(f"| {name} | {laws} | {lossless} | {first_line} |")
    return "\n".join(rows)


def page(prompts):
    machine, packages = hardware(), versions()
    return f"""# Acceptance rules

<!-- Written by docs/make_rules.py. -->

{rules_table()}

Sources, sections and deviations are in each rule's docstring in `harness/acceptance/`. A rule refuses
a draft that it is not valid for, and names the valid ones. Every lossless rule is proved so by
enumeration: see [exactness.md](exactness.md).

## How much each keeps, exactly

Expected accepted length of one step, computed by enumeration of every branch, where the target's and
the draft model's distributions are the same at every position (`fixtures/adversarial`). In brackets:
with a single level (one token, or two siblings), the probability of keeping one, as a share of the
most that any lossless rule could keep (optimal transport, solved as a linear program).

{exact_table()}

## How much each keeps on the built-in pair

Temperature 1, depth 3, 64 new tokens, seed 0, built-in prompts; 95% intervals by bootstrap over
prompts. **The built-in pair is a toy pair: these figures describe only itself.**

{measured_table(prompts)}

`{" ".join(["python", "docs/make_rules.py", *sys.argv[1:]])}` on {machine["cpus"]} × {machine["cpu"]},
torch {packages["torch"]}, transformers {packages["transformers"]}, draftproof
{packages["draftproof"]}.
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", type=int, default=10, help="prompts a domain (default 10)")
    options = parser.parse_args()
    PAGE.write_text(page(options.prompts), encoding="utf-8")


if __name__ == "__main__":
    main()
