"""Time and memory of the analysis of a saved run, from 10⁵ nodes to 10⁸.

    python benchmarks/scale.py make --nodes 2000000 OUT
    python benchmarks/scale.py measure OUT... [--commands metrics,report] [--write]

``make`` writes a synthetic run of the study's trees (depth 3, branching 2; 14 nodes a step), case
by case: 252 nodes a prompt, four domains, an acceptance that differs between domains and prompts.
Its numbers say nothing about any model. ``measure`` runs commands on such runs, each in a process
of its own, and prints wall and processor seconds, and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

from draftproof.files import write_text
from draftproof.report.columns import CASES_FILE, NODES_FILE, STEPS_FILE, TraceWriter
from draftproof.report.metrics_json import strict_json
from draftproof.report.run_info import RunInfo
from draftproof.trace import (
    NODE_COLUMNS,
    SCHEMA_VERSION,
    STEP_COLUMNS,
    CaseRecord,
    DecodedOutput,
    Verdict,
)

MARKER = "<!-- scale -->"
PARENTS = np.array([-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
DEPTHS = np.array([1, 1] + [2] * 4 + [3] * 8)
RANKS = np.arange(14) % 2
STEPS, PROMPT_TOKENS, VOCABULARY = 18, 100, 32_000
RATES = {"code": 0.54, "math": 0.52, "logic": 0.53, "chat": 0.57}


def synthetic_case(
    index: int, domain: str, generator: np.random.Generator, steps_a_case: int = STEPS
) -> CaseRecord:
    """A case whose columns keep every identity of a greedy run with the study's trees."""
    level = np.clip(RATES[domain] + generator.normal(0, 0.06), 0.05, 0.95)
    alpha = generator.beta(2 * level, 2 * (1 - level), (steps_a_case, 14)).astype(np.float32)
    q = generator.uniform(0.05, 0.5, (steps_a_case, 14)).astype(np.float32)
    siblings = (alpha * q).reshape(steps_a_case, 7, 2).sum(axis=2)
    overlap = siblings + generator.random((steps_a_case, 7)) * (1 - siblings)
    kept, reached = np.zeros((steps_a_case, 14), bool), np.zeros((steps_a_case, 14), bool)
    reached[:, :2] = True
    alive = np.full(steps_a_case, -1)
    for first in (0, 2, 6):
        on = np.flatnonzero(alive >= -1)
        base = np.where(first, 2 + 2 * alive[on], 0)
        draw = generator.random(len(on))
        chosen = np.where(
            draw < 0.5 * level + 0.2, base, np.where(draw < level + 0.2, base + 1, -2)
        )
        reached[on, base] = True
        reached[on, base + 1] = chosen != base
        kept[on[chosen >= 0], chosen[chosen >= 0]] = True
        alive[on] = chosen
    accepted = kept.sum(axis=1)
    committed = accepted + 1
    roots = PROMPT_TOKENS + np.append(0, np.cumsum(committed)[:-1])
    output = generator.integers(0, VOCABULARY, 1 + int(committed.sum()))
    tokens = generator.integers(0, VOCABULARY, (steps_a_case, 14))
    position = roots[:, None] + DEPTHS
    tokens = np.where(kept, output[np.minimum(position - PROMPT_TOKENS, len(output) - 1)], tokens)
    rank = np.where(kept, 0, generator.integers(1, 50, (steps_a_case, 14)))
    steps = {
        "step": np.arange(steps_a_case),
        "nodes": np.full(steps_a_case, 14),
        "depth": np.full(steps_a_case, 3),
        "accepted_length": accepted,
        "committed_tokens": committed,
        "root_position": roots,
        "draft_seconds": np.full(steps_a_case, 0.002),
        "verify_seconds": np.full(steps_a_case, 0.004),
    }
    each = (steps_a_case, 14)
    entropy = generator.gamma(1.5, 1 + 0.5 * (1 - alpha)).astype(np.float32)
    nodes = {
        "step": np.repeat(np.arange(steps_a_case), 14),
        "node": np.tile(np.arange(14), steps_a_case),
        "parent": np.tile(PARENTS, steps_a_case),
        "depth": np.tile(DEPTHS, steps_a_case),
        "sibling_rank": np.tile(RANKS, steps_a_case),
        "position": position,
        "token_id": tokens,
        "target_probability": alpha * q,
        "draft_probability": q,
        "acceptance_probability": alpha,
        "overlap": np.repeat(overlap, 2, axis=1),
        "target_entropy": generator.gamma(1.5, 1, each),
        "draft_entropy": entropy,
        "target_rank": rank,
        "draft_rank": np.tile(RANKS, (steps_a_case, 1)),
        "reached": reached,
        "accepted": kept,
    }
    seconds = 0.02 * len(output) * generator.lognormal(0, 0.05)
    ids = tuple(output.tolist())
    return CaseRecord(
        case_id=f"{domain}/{index:07d}",
        domain=domain,
        prompt_tokens=PROMPT_TOKENS,
        verdict=Verdict.IDENTICAL,
        plain=DecodedOutput(token_ids=ids, stop_reason="length", seconds=seconds),
        speculative=DecodedOutput(
            token_ids=ids,
            stop_reason="length",
            seconds=steps_a_case * 0.008 * generator.lognormal(0, 0.05),
        ),
        steps={name: np.asarray(steps[name], kind).ravel() for name, kind in STEP_COLUMNS.items()},
        nodes={name: np.asarray(nodes[name], kind).ravel() for name, kind in NODE_COLUMNS.items()},
        draws={},
    )


def make(directory: Path, nodes: int, *, steps: int = STEPS) -> None:
    """Write a synthetic run of about so many nodes; memory does not grow with them.

    Args:
        directory: Its folder.
        nodes: In all.
        steps: Of each case.
    """
    prompts = max(len(RATES), nodes // (steps * 14))
    directory.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    with (
        (directory / CASES_FILE).open("wb") as cases,
        (directory / STEPS_FILE).open("wb") as rows,
        (directory / NODES_FILE).open("wb") as node_rows,
        TraceWriter(cases, rows, node_rows) as writer,
    ):
        for index in range(prompts):
            # Domains take turns, as cases of parallel workers end: no id order on disk.
            writer.append(synthetic_case(index, list(RATES)[index % 4], generator, steps))
    run = RunInfo(
        name=f"synthetic-{prompts}",
        started="2026-01-01T00:00:00+00:00",
        config={"target": "synthetic", "draft": "synthetic", "tree": "3x2", "rule": "greedy"},
        fingerprint="0" * 16,
        models={"target": {"name": "synthetic"}, "draft": {"name": "synthetic"}},
    )
    described = {"schema_version": SCHEMA_VERSION, "complete": True, **run.to_json()}
    write_text(directory / "run.json", strict_json(described))
    print(f"{directory}: {prompts:,} prompts, {prompts * steps * 14:,} nodes")


def measured(command: str, directory: Path) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak GiB of resident memory of a command on a run.

    Raises:
        SystemExit: The command failed.
    """
    arguments = [sys.executable, "-m", "draftproof", *command.split(), str(directory)]
    if command.split()[0] == "compare":
        arguments.append(str(directory))
    start = time.perf_counter()
    child = os.fork()
    if not child:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.execv(sys.executable, arguments)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed ({status})")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def measure(directories: list[Path], commands: list[str], *, write: bool) -> None:
    """Print a row a run and command, and with `write` put the rows into ``README.md``."""
    import pyarrow
    import pyarrow.parquet as pq

    rows = []
    for directory in directories:
        nodes = pq.ParquetFile(directory / NODES_FILE).metadata.num_rows
        prompts = pq.ParquetFile(directory / CASES_FILE).metadata.num_rows
        for command in commands:
            seconds, processor, peak = measured(command, directory)
            rows.append(
                f"| `draftproof {command}` | {prompts:,} | {nodes:,} | {seconds:.1f} | "
                f"{processor:.1f} | {peak:.2f} "
                f"| {os.cpu_count()} × {platform.machine()} | {platform.python_version()}, "
                f"{np.__version__}, {pyarrow.__version__} |"
            )
            print(rows[-1], flush=True)
    if write:
        readme = Path(__file__).parent / "README.md"
        text = readme.read_text(encoding="utf-8")
        readme.write_text(text.replace(MARKER, "\n".join([*rows, MARKER])), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("make", help="write a synthetic run")
    making.add_argument("--nodes", type=int, required=True)
    making.add_argument("out", type=Path)
    measuring = actions.add_parser("measure", help="run commands on runs")
    measuring.add_argument("runs", type=Path, nargs="+")
    measuring.add_argument("--commands", default="metrics,study,report")
    measuring.add_argument("--write", action="store_true", help="add rows to benchmarks/README.md")
    given = parser.parse_args()
    if given.action == "make":
        make(given.out, given.nodes)
    else:
        measure(given.runs, given.commands.split(","), write=given.write)
