"""Runs the built-in pair several times with other seeds, and keeps each prompt's sums.

    python benchmarks/builtin_reruns.py OUT.npz --seeds 16 --limit 50

Every run has the same prompts and another seed at temperature 1: an A/A comparison of real traces
is two of these runs. `benchmarks/gate_power.py --reruns OUT.npz` compares them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from draftproof import ReferenceEngine, RunConfig, Sampling, load_pair
from draftproof.data import DOMAINS, load_prompts
from draftproof.engines.measuring import Bench
from draftproof.shapes import parse_tree
from draftproof.statistics import prompt_sums
from draftproof.statistics.sums import TOTALS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--limit", type=int, default=50, help="prompts a domain")
    parser.add_argument("--tree", type=parse_tree, default=parse_tree("3x2"))
    parser.add_argument("--max-new-tokens", type=int, default=64)
    arguments = parser.parse_args()
    config = RunConfig(
        tree=arguments.tree,
        sampling=Sampling(temperature=1.0),
        max_new_tokens=arguments.max_new_tokens,
    )
    pair = load_pair(config, print)
    prompts = [p for domain in DOMAINS for p in load_prompts(domain, limit=arguments.limit)]
    totals = []
    for seed in range(arguments.seeds):
        seeded = replace(config, seed=seed)
        bench = Bench(ReferenceEngine(pair, seeded), pair, seeded)
        sums = prompt_sums([bench.run(prompt) for prompt in prompts])
        totals.append(np.stack([sums.totals[name] for name in TOTALS]))
        np.savez_compressed(
            arguments.out, totals=np.stack(totals), names=TOTALS, domains=np.array(sums.domains)
        )
        print(f"seed {seed}: {int(sums.totals['steps'].sum())} steps", flush=True)


if __name__ == "__main__":
    main()
