"""Seconds of the study's cases by speculation and by `--spec-engine probe`, in turn.

    python benchmarks/probed_study.py [--target MODEL --draft MODEL] [--limit N] [--write]

Both decode plainly, and both make the steps and nodes of the study's trees (3x2, temperature 0)
with as many prompts at once as fit; the one also decodes with speculation and judges its outputs.
Loading is in neither's seconds.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from draftproof.cli.run_options import prompts_of
from draftproof.config import RunConfig
from draftproof.engines.measuring import Bench
from draftproof.engines.names import PROBE
from draftproof.engines.registry import make_engine
from draftproof.environment import hardware, versions
from draftproof.models.loading import load_pair
from draftproof.shapes import KAryShape

README = Path(__file__).parent / "README.md"
MARKER = "<!-- probed study -->"
PUBLISHED_NODES = 99_768
"""Of the study, arXiv 2604.14682."""


def measured(pair, config, prompts):
    """Seconds of all cases, and their steps and nodes."""
    after = {prompt.prompt_id: prompts[i + 1 :] for i, prompt in enumerate(prompts)}
    bench = Bench(make_engine(pair, config), pair, config, lambda name: after[name])
    bench.warm_up(prompts[0])
    began = time.perf_counter()
    records = [bench.run(prompt) for prompt in prompts]
    seconds = time.perf_counter() - began
    bench.engine.close()
    steps = [record.steps["accepted_length"].tolist() for record in records]
    return seconds, steps, sum(len(record.nodes["node"]) for record in records)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="builtin")
    parser.add_argument("--draft", default="builtin")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--limit", type=int, default=10, help="prompts a domain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the row into README.md")
    options = parser.parse_args()
    live = RunConfig(
        target=options.target,
        draft=options.draft,
        dtype=options.dtype,
        max_new_tokens=options.max_new_tokens,
        limit=options.limit,
        tree=KAryShape(3, 2),
        batch=None,
        check_state=0.0,
    )
    pair = load_pair(live, print)
    prompts = prompts_of(live)
    probed = replace(live, engine=PROBE)
    times, same = [], []
    for number in range(options.rounds):
        first, steps, nodes = measured(pair, live, prompts)
        second, others, _ = measured(pair, probed, prompts)
        times.append((first, second))
        same = [a == b for a, b in zip(steps, others, strict=True)]
        print(
            f"round {number}: {first:.1f} s by speculation, {second:.1f} s by a probe", flush=True
        )
    ratio = statistics.median(a / b for a, b in times)
    seconds = statistics.median(b for _, b in times)
    machine, packages = hardware(), versions()
    command = shlex.join(["python", "benchmarks/probed_study.py", *sys.argv[1:]])
    row = (
        f"| {Path(options.target).name} | {len(prompts)} × {options.max_new_tokens} | {nodes:,} | "
        f"{sum(same)} of {len(same)} | {statistics.median(a for a, _ in times):.1f} | "
        f"{seconds:.1f} | {ratio:.2f} | {seconds * PUBLISHED_NODES / nodes / 60:.1f} | "
        f"{machine['torch_threads']} × {machine['cpu']} | {packages['torch']}, "
        f"{packages['transformers']} | `{command}` |"
    )
    print(row)
    if options.write:
        text = README.read_text("utf-8")
        README.write_text(text.replace(MARKER, f"{row}\n{MARKER}"), "utf-8")


if __name__ == "__main__":
    main()
