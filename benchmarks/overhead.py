"""The share of wall time that is spent outside the models' forward passes.

    python benchmarks/overhead.py [--target MODEL --draft MODEL ...] [--write]

Decodes a few built-in prompts of each domain plainly and speculatively, with full tracing, and
times every forward pass of either model by hooks on the models. Then asks the engine alone how much
of its speculative calls it spent on watching (recording, state checks), which is in no output's
seconds. `--write` adds the row to the README here.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from draftproof import Bench, ReferenceEngine, RunConfig, Sampling, load_pair
from draftproof.data import DOMAINS, load_prompts
from draftproof.environment import hardware, versions
from draftproof.shapes import parse_tree

README = Path(__file__).parent / "README.md"
MARKER = "<!-- overhead -->"


class ForwardSeconds:
    """Adds up the time of a model's forward passes."""

    def __init__(self, model):
        self.total = 0.0
        self._start = 0.0
        model.register_forward_pre_hook(self._before)
        model.register_forward_hook(self._after)

    def _before(self, *_):
        self._start = time.perf_counter()

    def _after(self, *_):
        self.total += time.perf_counter() - self._start


def measure(engine, prompts):
    """Wall time and forward time of the whole case: plain, speculative, trace, comparison."""
    clocks = [ForwardSeconds(model.model) for model in {engine.pair.target, engine.pair.draft}]
    engine.run(prompts[0])
    for clock in clocks:
        clock.total = 0.0
    start = time.perf_counter()
    nodes = sum(len(engine.run(prompt).nodes["node"]) for prompt in prompts)
    wall = time.perf_counter() - start
    return wall, sum(clock.total for clock in clocks), nodes


def watching_share(bench, prompts):
    """Share of the speculative calls that would be in their seconds if the clock did not stop."""
    told = [bench.engine.speculate(bench.request(prompt)) for prompt in prompts]
    watching = sum(generation.watching_seconds for generation in told)
    return watching / (watching + sum(generation.seconds for generation in told))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="builtin")
    parser.add_argument("--draft", default="builtin")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--tree", default="3x2", type=parse_tree)
    parser.add_argument("--temperature", default=0.0, type=float)
    parser.add_argument("--max-new-tokens", default=64, type=int)
    parser.add_argument("--prompts", default=3, type=int, help="prompts a domain")
    parser.add_argument("--write", action="store_true", help="add the row to the README")
    options = parser.parse_args()
    config = RunConfig(
        target=options.target,
        draft=options.draft,
        dtype=options.dtype,
        tree=options.tree,
        sampling=Sampling(temperature=options.temperature),
        max_new_tokens=options.max_new_tokens,
    )
    pair = load_pair(config, print)
    engine = Bench(ReferenceEngine(pair, config), pair, config)
    prompts = [
        prompt for domain in DOMAINS for prompt in load_prompts(domain, limit=options.prompts)
    ]
    wall, forward, nodes = measure(engine, prompts)
    watching = watching_share(engine, prompts)
    description = engine.pair.descriptions["target"]
    machine, packages = hardware(), versions()
    row = (
        f"| {description['name']} | {description['dtype']} on {description['device']} | "
        f"{config.tree} | {options.temperature:g} | {len(prompts)} | {nodes} | "
        f"{1 - forward / wall:.3f} | {watching:.3f} | {machine['cpus']} × {machine['cpu']} | "
        f"{packages['torch']}, {packages['transformers']} | "
        f"`{' '.join(['python', 'benchmarks/overhead.py', *sys.argv[1:]])}` |"
    )
    print(row)
    if options.write:
        text = README.read_text(encoding="utf-8")
        README.write_text(text.replace(MARKER, f"{row}\n{MARKER}"), encoding="utf-8")


if __name__ == "__main__":
    main()
