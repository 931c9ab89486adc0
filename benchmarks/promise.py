"""Whether what `draftproof advise` promises is delivered on prompts that it never saw.

    python benchmarks/promise.py [--target MODEL] [--drafts D1,D2] [--write DIR]

Half of the prompts of each domain are recorded, costs are measured, and settings are chosen. On the
other half, plain decoding, the advised setting and the default tree (3x2 with the first draft
model) are run in turn, prompt by prompt, in an order that changes. Prints the promised speedup
beside the measured one, and block efficiency likewise. Run it on an otherwise idle machine: costs
and runs are measured minutes apart. `--write` puts the advice, its page and the table into a
folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from draftproof.cli.run_options import prompts_of
from draftproof.config import RunConfig, Sampling
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.environment import hardware, versions
from draftproof.replay.advice import advise
from draftproof.replay.advice_text import (
    advice_budget,
    advice_json,
    interval,
    table_of,
    terminal_advice,
)
from draftproof.replay.candidates import LOOKUP, NONE
from draftproof.replay.crossfit import speedup_estimate
from draftproof.replay.making import RecordingPlan, load_models, make_recording
from draftproof.replay.notes import recording_notes
from draftproof.replay.timing import measure_costs
from draftproof.report.page.sweep import write_sweep_page
from draftproof.shapes import KAryShape
from draftproof.statistics.resampling import Resampling

WAYS = ("plain", "advised", "default")


def halves(prompts):
    """The prompts to record and those to hold out, in turn within each domain."""
    by_domain = {}
    for prompt in prompts:
        by_domain.setdefault(prompt.domain, []).append(prompt)
    first = [prompt for listed in by_domain.values() for prompt in listed[::2]]
    second = [prompt for listed in by_domain.values() for prompt in listed[1::2]]
    return first, second


class Ways:
    """Engines for the three ways of decoding a domain's prompts."""

    def __init__(self, models, config, advice, first_draft):
        self._models, self._config = models, replace(config, check_state=0.0, rule="auto")
        self._engines = {}
        self._advised = {each.domain: each.advised.candidate for each in advice.domains}
        self._default = (first_draft, KAryShape(3, 2))

    def decode(self, way, prompt):
        candidate = self._advised[prompt.domain]
        draft, tree = self._default if way == "default" else (candidate.draft, candidate.shape)
        plainly = way == "plain" or draft == NONE
        key = ("plain",) if plainly else (draft, str(tree))
        if key not in self._engines:
            self._engines[key] = self._make(None if plainly else draft, tree)
        bench = self._engines[key]
        request = bench.request(prompt)
        if plainly:
            generation = bench.engine.plain(request)
            return generation.seconds, len(generation.token_ids), len(generation.token_ids) - 1
        generation = bench.engine.speculate(request)
        return generation.seconds, len(generation.token_ids), len(generation.steps["step"])

    def _make(self, draft, tree):
        pair = self._models.pair
        if draft is None or draft == LOOKUP:
            if draft is None:
                engine = ReferenceEngine.without_drafts(pair, self._config)
                return Bench(engine, pair, self._config)
            config = replace(self._config, tree=tree)
            return Bench(ReferenceEngine(pair, config), pair, config)
        config = replace(self._config, tree=tree)
        pair = replace(pair, draft=self._models.drafts[draft])
        return Bench(ReferenceEngine(pair, config), pair, config)


def measure(ways, prompts, rounds):
    """Seconds, tokens and steps of every prompt and way: the sum over rounds."""
    found = {way: np.zeros((len(prompts), 3)) for way in WAYS}
    for prompt in {each.domain: each for each in prompts}.values():
        for way in WAYS:  # what is done only once is in no prompt's seconds
            ways.decode(way, prompt)
    for number in range(rounds):
        for index, prompt in enumerate(prompts):
            turn = (index + number) % len(WAYS)
            for way in (*WAYS[turn:], *WAYS[:turn]):
                found[way][index] += ways.decode(way, prompt)
    return found


def rows_of(advice, prompts, found):
    """By domain, what was promised and what was measured."""
    rows = []
    for each in advice.domains:
        own = np.array([prompt.domain == each.domain for prompt in prompts])
        seconds = {way: found[way][own, 0] for way in WAYS}
        tokens = found["plain"][own, 1]
        speedups = {
            way: speedup_estimate(seconds["plain"], seconds[way], tokens, each.domain, Resampling())
            for way in ("advised", "default")
        }
        committed, steps = (found["advised"][own, 1] - 1).sum(), found["advised"][own, 2].sum()
        rows.append(
            {
                "domain": each.domain,
                "prompts": int(own.sum()),
                "setting": str(each.advised.candidate),
                "promised": each.advised.speedup,
                "measured": speedups["advised"],
                "error": speedups["advised"].value / each.advised.speedup.value - 1,
                "default promised": each.default.speedup,
                "default measured": speedups["default"],
                "efficiency promised": each.advised.block_efficiency,
                "efficiency measured": committed / steps if steps else float("nan"),
            }
        )
    return rows


def table(rows):
    heads = [
        "domain",
        "prompts",
        "promised speedup",
        "measured",
        "measured ÷ promised − 1",
        "default tree: promised",
        "measured",
        "block efficiency: promised",
        "measured",
    ]
    cells = [
        [
            row["domain"],
            row["prompts"],
            interval(row["promised"]),
            interval(row["measured"]),
            f"{row['error']:+.1%}",
            interval(row["default promised"]),
            interval(row["default measured"]),
            interval(row["efficiency promised"]),
            f"{row['efficiency measured']:.2f}",
        ]
        for row in rows
    ]
    return heads, cells


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="builtin")
    parser.add_argument("--drafts", default="builtin,builtin-small,lookup")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--prompts", default="builtin")
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="DIR")
    options = parser.parse_args()
    config = RunConfig(
        target=options.target,
        dtype=options.dtype,
        device=options.device,
        sampling=Sampling(temperature=options.temperature),
        prompts=options.prompts,
        data_dir=options.data,
        limit=options.limit,
        max_new_tokens=options.max_new_tokens,
    )
    drafters = tuple(options.drafts.split(","))
    names = tuple(name for name in drafters if name not in (LOOKUP, NONE))
    recorded, held_out = halves(prompts_of(config))
    models = load_models(config, names, print)
    plan = RecordingPlan(config=config, drafts=names, prompts=recorded)
    with tempfile.TemporaryDirectory() as folder:
        recording = make_recording(plan, Path(folder) / "recording", models, print)
    costs = measure_costs(models, config, recorded[:: max(1, len(recorded) // 6)], print)
    advice = advise(recording, costs, drafters)
    print(terminal_advice(advice, recording_notes(recording)))
    print("running the held-out prompts, three ways in turn")
    found = measure(Ways(models, config, advice, names[0]), held_out, options.rounds)
    rows = rows_of(advice, held_out, found)
    heads, cells = table(rows)
    median = float(np.median([abs(row["error"]) for row in rows]))
    print(table_of(cells, heads))
    print(f"Median over domains of |measured ÷ promised − 1|: {median:.1%}")
    if options.write:
        write(options.write, advice, heads, cells, median, options.rounds)


def write(folder, advice, heads, cells, median, rounds):
    folder.mkdir(parents=True, exist_ok=True)
    write_sweep_page(folder / "advice.html", advice)
    (folder / "advice.json").write_text(json.dumps(advice_json(advice), indent=1) + "\n")
    (folder / "budget.json").write_text(
        json.dumps(advice_budget(advice).to_json(), indent=1) + "\n"
    )
    machine, installed = hardware(), versions()
    lines = [
        "# A promise, and what was delivered",
        "",
        f"`{shlex.join(['python', 'benchmarks/promise.py', *sys.argv[1:]])}`",
        "",
        *recording_notes(advice.recording),
        "",
        f"Settings were chosen on {len(advice.recording.cases)} recorded prompts. The prompts "
        "below are others; each was decoded plainly, with the advised setting and with the default "
        f"tree, in turn, {rounds} times. Median over domains of |measured ÷ promised − 1|: "
        f"**{median:.1%}**. Intervals are over prompts, at 95%.",
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(map(str, row)) + " |" for row in cells),
        "",
        "Settings: "
        + "; ".join(f"{each.domain}: `{each.advised.candidate}`" for each in advice.domains)
        + ".",
        "",
        f"Hardware: {machine['cpu']}, {machine['torch_threads']} threads; "
        f"{', '.join(machine.get('accelerators', [])) or 'no accelerator'}. Versions: "
        + ", ".join(f"{name} {version}" for name, version in installed.items())
        + ".",
        "",
        "```",
        terminal_advice(advice),
        "```",
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
