"""Replays a second from a recording, and nodes a second of a probe beside a live run.

    python benchmarks/replay.py [--target MODEL --draft MODEL] [--limit N] [--write]

Records the prompts, replays 1,000 different trees, and then makes the study's node table (3x2)
twice on some prompts: step by step, as a run does, and by a probe of all positions. Both are timed
with everything that they record, in turn.
`--write` adds the rows to the README here.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from draftproof.cli.run_options import prompts_of
from draftproof.config import RunConfig
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.environment import hardware, versions
from draftproof.replay.alignment import align
from draftproof.replay.best_tree import neighbours
from draftproof.replay.making import RecordingPlan, load_models, make_recording
from draftproof.replay.matching import replay_trees
from draftproof.replay.probe import ROOTS, probe
from draftproof.replay.storage import bytes_a_token, load_recording
from draftproof.sampling import TokenLaw
from draftproof.shapes import KAryShape

README = Path(__file__).parent / "README.md"
MARKER = "<!-- replay -->"
SHAPE = KAryShape(3, 2)


def replay_seconds(recording, draft, count):
    alignment = align(recording.cases, draft, recording.info)
    listed = _many(count)
    began = time.perf_counter()
    replay_trees(alignment, listed)
    return time.perf_counter() - began, len(listed)


def _many(count):
    """Different trees, grown node by node from the smallest."""
    found, frontier = {((0,),)}, [((0,),)]
    while len(found) < count:
        frontier = [other for tree in frontier for other in neighbours(tree, ranks=4, depth=8)]
        for tree in frontier:
            if len(found) < count:
                found.add(tree)
    return sorted(found)


def node_rates(models, config, prompts, rounds):
    """Nodes a second, step by step and by a probe; in turn."""
    pair = models.pair
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    seconds, nodes = np.zeros(2), np.zeros(2)
    for number in range(rounds + 1):
        for prompt in prompts:
            request = bench.request(prompt)
            began = time.perf_counter()
            generation = bench.engine.speculate(request)
            middle = time.perf_counter()
            law = TokenLaw(request.sampling, len(request.prompt_token_ids))
            table = probe(
                request.prompt_token_ids,
                generation.token_ids,
                pair.target,
                pair.draft,
                SHAPE.paths,
                law,
                roots=ROOTS,
            )
            ended = time.perf_counter()
            if number:  # the first round warms up
                seconds += (middle - began, ended - middle)
                nodes += (len(generation.nodes["node"]), len(table["node"]))
    return nodes / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="builtin")
    parser.add_argument("--draft", default="builtin")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--limit", type=int, default=50, help="prompts a domain")
    parser.add_argument("--trees", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    config = RunConfig(
        target=options.target,
        draft=options.draft,
        dtype=options.dtype,
        max_new_tokens=options.max_new_tokens,
        limit=options.limit,
        tree=SHAPE,
        check_state=0.0,
    )
    models = load_models(config, (options.draft,), print)
    prompts = prompts_of(config)
    plan = RecordingPlan(config=config, drafts=(options.draft,), prompts=prompts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        began = time.perf_counter()
        recording = make_recording(plan, path, models, print)
        record_seconds = time.perf_counter() - began
        size = bytes_a_token(path, load_recording(path))
    seconds, count = replay_seconds(recording, options.draft, options.trees)
    tokens = sum(case.committed for case in recording.cases)
    live, probed = node_rates(models, config, prompts[:: max(1, len(prompts) // 8)], options.rounds)
    machine, installed = hardware(), versions()
    command = shlex.join(["python", "benchmarks/replay.py", *sys.argv[1:]])
    row = (
        f"| {Path(options.target).name} | {Path(options.draft).name} | {len(recording.cases)} × "
        f"{tokens / len(recording.cases):.0f} | {record_seconds:.0f} | {size:.0f} | "
        f"{count / seconds:,.0f} | {live:,.0f} | {probed:,.0f} | {probed / live:.1f} | "
        f"{machine['torch_threads']} × {machine['cpu']} | {installed['torch']}, "
        f"{installed['transformers']} | `{command}` |"
    )
    print(row)
    if options.write:
        text = README.read_text("utf-8")
        README.write_text(text.replace(MARKER, f"{row}\n{MARKER}"), "utf-8")


if __name__ == "__main__":
    main()
