"""Writes docs/rules.md: what each acceptance rule is valid for, and how much it keeps.

    python docs/make_rules.py [--prompts N]

The table of kept lengths is exact, by enumeration of one step on three named pairs of distributions
from fixtures/adversarial; a test holds the page to it. The last is measured on the built-in pair at
temperature 1.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

from draftproof import Bench, ReferenceEngine, RunConfig, Sampling, load_pair
from draftproof.acceptance import make_rule
from draftproof.data import DOMAINS, load_prompts
from draftproof.drafting import make_drafter
from draftproof.environment import hardware, versions
from draftproof.laws import RULES, ProposalLaw, labelled
from draftproof.lossless.exact_law import accepted_length_law
from draftproof.lossless.transport import best_acceptance, best_acceptance_of_draws, sibling_sets
from draftproof.models.table import TableLM
from draftproof.sampling import TokenLaw
from draftproof.shapes import parse_tree
from draftproof.statistics import summarise
from draftproof.statistics.bootstrap import ANY, SHARE, RatioSums, stratified_estimates
from draftproof.tree import ROOT

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


def lengths(rule, text, name):
    """The exact law of one step's accepted length, the same p and q at every position."""
    p, q = distributions(name)
    shape = parse_tree(text)
    return accepted_length_law(
        (0, 1),
        TableLM(lambda context: p, len(p)),
        make_drafter(shape, TableLM(lambda context: q, len(q))),
        make_rule(rule, shape, is_greedy=False),
        law=TokenLaw(Sampling(temperature=1.0)),
    )


def share_of_bound(rule, text, name):
    """What a rule keeps of one level of siblings, as a share of the optimal transport's value."""
    p, q = (law.tolist() for law in distributions(name))
    shape = parse_tree(text.replace("2x2", "1x2").replace("chain:3", "chain:1"))
    if shape.law is ProposalLaw.DETERMINISTIC:
        best = sorted(range(len(q)), key=lambda token: (-q[token], token))[:2]
        siblings = {tuple(best): 1.0}
    else:
        siblings = sibling_sets(q, 1 if shape.is_chain else shape.branching, shape.law)
    return lengths(rule, str(shape), name).get(1, 0.0) / best_acceptance(p, siblings)


def exact_table():
    rows = [
        "| rule | draft | " + " | ".join(FIXTURES) + " |",
        "|---|---|" + "---:|" * len(FIXTURES),
    ]
    for rule, text in STEPS:
        cells = []
        for name in FIXTURES:
            law = lengths(rule, text, name)
            mean = math.fsum(length * probability for length, probability in law.items())
            share = f" ({share_of_bound(rule, text, name):.3f})" if RULES[rule].lossless else ""
            cells.append(f"{mean:.4f}{share}")
        rows.append(f"| {labelled(rule)} | {text} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


class BesideTheBound:
    """A rule, and beside it how often it keeps a token of depth 1 and how often any rule could."""

    def __init__(self, rule):
        self.name = rule.name
        self._rule = rule
        self.kept = 0
        self.bound = 0.0

    def accept(self, draft, target, randomness):
        kept = self._rule.accept(draft, target, randomness)
        tokens = draft.tree.tokens(draft.tree.children(ROOT))
        self.kept += bool(kept.path)
        if draft.tree.law is ProposalLaw.DETERMINISTIC:
            self.bound += float(target[0, list(tokens)].sum())
        else:
            q = draft.probabilities[0]
            self.bound += best_acceptance_of_draws(target[0], q, len(tokens), draft.tree.law)
        return kept


def measured_table(prompts):
    rows = [
        "| rule | draft | prompts | steps | accepted length | block efficiency | kept at depth 1 | "
        "the same ÷ bound |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    pair = load_pair(RunConfig())
    for rule, text in RUNS:
        config = RunConfig(tree=parse_tree(text), rule=rule, sampling=Sampling(temperature=1.0))
        records, depth_one = [], {}
        for domain in DOMAINS:
            sums = []
            for prompt in load_prompts(domain, limit=prompts):
                beside = BesideTheBound(make_rule(rule, config.tree, is_greedy=False))
                bench = Bench(ReferenceEngine(pair, config, rule=beside), pair, config)
                records.append(bench.run(prompt))
                sums.append((beside.kept, len(records[-1].steps["step"]), beside.bound))
            kept, steps, bound = np.array(sums, float).T
            depth_one[domain] = RatioSums(np.array([kept, kept]).T, np.array([steps, bound]).T)
        overall = summarise(records).overall
        rate, share = stratified_estimates(depth_one, ["no step"] * 2, bounds=[SHARE, ANY]).pooled
        estimates = [
            with_interval(overall.metrics["accepted_length"], 2),
            with_interval(overall.metrics["block_efficiency"], 2),
            with_interval(rate, 3),
            with_interval(share, 3) if RULES[rule].lossless else "",
        ]
        rows.append(
            f"| {labelled(rule)} | {text} | {overall.prompts} | {overall.steps:,} | "
            + " | ".join(estimates)
            + " |"
        )
        print(rows[-1], flush=True)
    return "\n".join(rows)


def with_interval(estimate, decimals):
    if math.isnan(estimate.low):
        return f"{estimate.value:.{decimals}f}"
    return (
        f"{estimate.value:.{decimals}f} ({estimate.low:.{decimals}f}–{estimate.high:.{decimals}f})"
    )


def rules_table():
    rows = ["| rule | valid for siblings that are | lossless | what it does |", "|---|---|---|---|"]
    for name, facts in RULES.items():
        laws = ", ".join(sorted(law.replace("_", " ") for law in facts.laws))
        if facts.chains_only:
            laws = f"chains: {laws}"
        lossless = (
            "**no**" if not facts.lossless else ("at temperature 0" if facts.greedy_only else "yes")
        )
        rule = make_rule(name, parse_tree("chain:1"), is_greedy=True)
        first_line = type(rule).__doc__.splitlines()[0]
        rows.append(f"| {name} | {laws} | {lossless} | {first_line} |")
    return "\n".join(rows)


def page(prompts):
    machine, packages = hardware(), versions()
    return f"""# Acceptance rules

<!-- Written by docs/make_rules.py. -->

{rules_table()}

Sources, sections and deviations are in each rule's docstring in `harness/draftproof/acceptance/`. A rule refuses
a draft that it is not valid for, and names the valid ones. Every lossless rule is proved so by
enumeration: see [exactness.md](exactness.md).

## How much each keeps, exactly

Expected accepted length of one step, computed by enumeration of every branch, where the target's and
the draft model's distributions are the same at every position (`fixtures/adversarial`). In brackets:
with a single level (one token, or two siblings), the probability of keeping one, as a share of the
bound: the most that any lossless rule could keep (optimal transport, solved as a linear program).
Over several levels block and traversal verification keep at least as much as rules that reach the same
share of the bound on one level.

{exact_table()}

## How much each keeps on the built-in pair

Temperature 1, depth 3, 64 new tokens, seed 0, built-in prompts; 95% intervals by bootstrap over
prompts. *Kept at depth 1* is the share of steps that kept a token, the reach rate at depth 1; the
bound is what optimal transport could keep of the same siblings, on average over the steps. Coins are
counted, so a rule that reaches the bound shows 1 within its interval. For a chain the bound is the
overlap Σ min(p, q), which `nodes.parquet` of every report holds for each node.

**The built-in pair is a toy pair: these figures describe only itself.**

{measured_table(prompts)}

`{" ".join(["python docs/make_rules.py", *sys.argv[1:]])}` on {machine["cpus"]} × {machine["cpu"]},
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
