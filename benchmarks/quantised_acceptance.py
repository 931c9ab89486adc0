"""What quantising the target does to acceptance, with the draft model left as it is.

    python benchmarks/quantised_acceptance.py [--prompts N] [--max-new-tokens N] [--write]

The built-in target is quantised by rounding to nearest, to GPTQ and to GGUF, loaded as any such
checkpoint is, and drafted for by the built-in draft model. Every target is compared with its own
plain decoding; differences of acceptance to the unquantised target are paired by prompt. `--write`
puts the table into docs/models.md.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from draftproof import RunConfig, load_pair
from draftproof.assets import asset_path
from draftproof.data import DOMAINS, load_prompts
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.environment import hardware, versions
from draftproof.shapes import parse_tree
from draftproof.statistics.metrics import METRICS
from draftproof.statistics.replicates import Replicates
from draftproof.statistics.resampling import Resampling, resampled_totals
from draftproof.statistics.sums import prompt_sums
from draftproof.trace import Verdict

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- quantised -->", "<!-- end of quantised -->"
SHOWN = {
    "acceptance_probability": "acceptance probability of a node",
    "accepted_length": "accepted length",
}


def checkpoints(folder):
    """Every target by name: where it is, as `--spec-target` takes it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sys.path.insert(0, str(ROOT / "tests"))
    gptq, gguf = (importlib.import_module(f"{name}_writer") for name in ("gptq", "gguf"))
    source = asset_path("models", "builtin-target")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    gptq.write_checkpoint(folder / "gptq", model, tokenizer, group_size=64, sym=False)
    places = {"unquantised": "builtin", "GPTQ 4-bit, group 64": str(folder / "gptq")}
    for kind in ("Q8_0", "Q4_0"):
        places[f"GGUF {kind}"] = str(
            gguf.write_gguf(folder / f"{kind}.gguf", model, tokenizer, kind)
        )
    return places


def records(target, options):
    """A record of every prompt, by domain."""
    config = RunConfig(
        target=target,
        dtype="float32",
        tree=parse_tree(options.tree),
        max_new_tokens=options.max_new_tokens,
    )
    pair = load_pair(config, print)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    return {
        domain: [bench.run(prompt) for prompt in load_prompts(domain, limit=options.prompts)]
        for domain in DOMAINS
    }


def totals(cases, metric, stratum):
    """Numerator and denominator of a metric: of the prompts, and of each resample of them."""
    sums = prompt_sums(cases).totals
    columns = np.stack([sums[metric.numerator], sums[metric.denominator]], axis=1)
    return columns.sum(0), resampled_totals(columns, stratum, Resampling())


def estimates(cases, reference, metric):
    """A metric by domain and overall, and its difference to the reference's, paired by prompt."""
    found = {}
    both, strata = [np.zeros(2), np.zeros(2), 0.0, 0.0], []
    every = [case for domain in DOMAINS for case in (*cases[domain], *reference[domain])]
    bounds = metric.bounds(max(int(case.steps["depth"].max(initial=0)) for case in every))
    for domain in DOMAINS:
        ours, ours_drawn = totals(cases[domain], metric, domain)
        theirs, theirs_drawn = totals(reference[domain], metric, domain)
        parts = [ours, theirs, ours_drawn, theirs_drawn]
        both = [total + part for total, part in zip(both, parts, strict=True)]
        weights = prompt_sums(cases[domain]).totals[metric.denominator]
        found[domain] = _estimates(*parts, weights=[weights], bounds=bounds)
        strata.append(weights)
    found["overall"] = _estimates(*both, weights=strata, bounds=bounds)
    return found


def _estimates(ours, theirs, ours_drawn, theirs_drawn, weights, bounds):
    n = int(ours[1])
    value, drawn = ours[0] / ours[1], ours_drawn[:, 0] / ours_drawn[:, 1]
    before, before_drawn = theirs[0] / theirs[1], theirs_drawn[:, 0] / theirs_drawn[:, 1]
    low, high = bounds
    figures = (
        (value, drawn, bounds),
        (value - before, drawn - before_drawn, (low - high, high - low)),
    )
    return tuple(
        Replicates(value=of, draws=draws, n=n, weights=weights, bounds=within).estimate(0.95)
        for of, draws, within in figures
    )


def cell(estimate, sign=""):
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def table(measured):
    heads = [f"{name} | difference" for name in SHOWN.values()]
    rows = [
        "| target | domain | nodes | " + " | ".join(heads) + " |",
        "|---|---|---:|" + "---:|---:|" * len(SHOWN),
    ]
    reference = measured["unquantised"]
    metrics = [metric for metric in METRICS if metric.name in SHOWN]
    for target, cases in measured.items():
        found = [estimates(cases, reference, metric) for metric in metrics]
        for scope in (*DOMAINS, "overall"):
            cells = []
            for by_scope in found:
                value, difference = by_scope[scope]
                cells += [cell(value), "" if cases is reference else cell(difference, "+")]
            nodes = found[0][scope][0].n
            rows.append(f"| {target} | {scope} | {nodes:,} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def caption(measured, options):
    """What was measured with what, and whether every target's output was its own."""
    reference = {
        case.case_id: case.speculative.token_ids
        for cases in measured["unquantised"].values()
        for case in cases
    }
    judged = []
    for target, by_domain in measured.items():
        cases = [case for cases in by_domain.values() for case in cases]
        identical = sum(case.verdict is Verdict.IDENTICAL for case in cases)
        same = sum(case.speculative.token_ids == reference[case.case_id] for case in cases)
        judged.append(
            f"{target} {identical} of {len(cases)}"
            + ("" if target == "unquantised" else f" ({same} as without quantisation)")
        )
    machine, packages = hardware(), versions()
    command = shlex.join(["python", "benchmarks/quantised_acceptance.py", *sys.argv[1:]])
    return (
        f"Built-in target and draft, a toy pair: these figures describe only itself. float32 on "
        f"cpu, tree {options.tree}, temperature 0, {options.max_new_tokens} new tokens, "
        f"{options.prompts} built-in prompts a domain. 95% intervals by bootstrap over prompts "
        f"(expanded percentile), differences paired by prompt. Outputs identical "
        f"to the same target's plain decoding: "
        f"{'; '.join(judged)}. `{command}` on "
        f"{machine['cpus']} × {machine['cpu']}; torch {packages['torch']}, transformers "
        f"{packages['transformers']}, draftproof {packages['draftproof']}."
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompts", default=25, type=int, help="prompts a domain")
    parser.add_argument("--max-new-tokens", default=64, type=int)
    parser.add_argument("--tree", default="3x2")
    parser.add_argument("--write", action="store_true", help="put the table into docs/models.md")
    options = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, target in checkpoints(Path(folder)).items():
            print(f"{name}: {target}", flush=True)
            measured[name] = records(target, options)
    text = f"{table(measured)}\n\n{caption(measured, options)}"
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        block = f"{BEGIN}\n{text}\n{END}"
        PAGE.write_text(
            re.sub(f"{BEGIN}.*{END}", lambda match: block, page, flags=re.DOTALL), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
