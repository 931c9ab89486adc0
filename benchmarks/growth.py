"""How time and memory grow: with nodes, prompts, the length of outputs and that of contexts.

    python benchmarks/growth.py [--short] [--write]

Nodes and prompts: `draftproof report` on synthetic saved runs (`scale.py` makes them), with 252
nodes a prompt or with 14. Outputs and contexts: the reference engine on two small Llamas with
random weights, made on the spot, plainly and with the tree 3x2; what they say means nothing, and
what a token or a step takes does. Every point is a process of its own, one thread; time is that of
the processor, memory the peak of what is resident. `--short` leaves the largest points out;
`--write` puts ``growth.json`` and ``growth.svg`` here, and a line into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import scale

from draftproof.environment import hardware, versions
from draftproof.files import write_text

HERE = Path(__file__).parent
MARKER = "<!-- growth -->"
NODES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
PROMPTS = (1_000, 3_000, 10_000, 30_000)
LENGTHS = (64, 250, 1_000, 4_000)
CONTEXTS = (125, 500, 2_000, 8_000)
CONTEXT, LENGTH = 32, 64
VOCABULARY, POSITIONS = 512, 8_192


def decode(context, length, way):
    """Processor seconds ÷ tokens or steps of an output, printed as JSON."""
    import time

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from draftproof import ReferenceEngine, RunConfig, Sampling
    from draftproof.engines.protocol import Request
    from draftproof.models.hugging_face import HuggingFaceLM
    from draftproof.models.loading import ModelPair
    from draftproof.stopping import Stopping

    torch.set_num_threads(1)
    models = []
    for seed, layers in ((0, 4), (1, 1)):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=POSITIONS,
        )
        models.append(HuggingFaceLM(LlamaForCausalLM(config).eval()))
    pair = ModelPair(target=models[0], draft=models[1], tokenizer=None, stop_token_ids=frozenset())
    engine = ReferenceEngine(pair, RunConfig(max_new_tokens=length, check_state=0.0))
    decoder = engine.plain if way == "plain" else engine.speculate

    def asked(tokens):
        ids = torch.randint(VOCABULARY, (context,), generator=torch.Generator().manual_seed(2))
        return Request(
            request_id=f"growth/{tokens}",
            prompt_token_ids=tuple(ids.tolist()),
            sampling=Sampling(temperature=0.0),
            stopping=Stopping(max_new_tokens=tokens),
        )

    decoder(asked(8))  # what is done once is in no figure
    began = time.process_time()
    generation = decoder(asked(length))
    seconds = time.process_time() - began
    count = len(generation.steps["step"]) if way != "plain" else len(generation.token_ids)
    print(json.dumps({"each": seconds / count}))


def points(folder, *, short):
    """What is measured: the panel, the line, the size, and the words of a process."""
    own = [sys.executable, str(Path(__file__).resolve())]
    report = [sys.executable, "-m", "draftproof", "report", "--json"]
    for panel, sizes, steps in (("nodes", NODES, scale.STEPS), ("prompts", PROMPTS, 1)):
        for size in sizes[: -1 if short else None]:
            run = folder / f"{panel}-{size}"
            scale.make(run, size if panel == "nodes" else size * 14, steps=steps)
            yield panel, "draftproof report", size, [*report, str(run)]
    for panel, sizes in (("tokens of an output", LENGTHS), ("tokens of a context", CONTEXTS)):
        for size in sizes[: -1 if short else None]:
            for way in ("plain", "3x2"):
                context, length = (CONTEXT, size) if sizes is LENGTHS else (size, LENGTH)
                yield panel, way, size, [*own, "decode", str(context), str(length), way]


def measured(words):
    """What a process printed, its processor seconds, and the peak GiB of its resident memory."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            os.dup2(output.fileno(), 1)
            os.execve(words[0], words, {**os.environ, "OMP_NUM_THREADS": "1"})
        _, status, usage = os.wait4(child, 0)
        if status:
            raise SystemExit(f"{' '.join(words)} failed ({status})")
        output.seek(0)
        return output.read(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def measure(*, short):
    """A row a point: panel, line, size, seconds (of a run, a token or a step) and GiB."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for panel, line, size, words in points(Path(folder), short=short):
            printed, seconds, peak = measured(words)
            if line != "draftproof report":
                seconds = json.loads(printed.splitlines()[-1])["each"]
            rows.append(
                {"over": panel, "line": line, "size": size, "seconds": seconds, "GiB": peak}
            )
            print(f"{panel} {size:,}: {line} {seconds:.4g} s, {peak:.2f} GiB", flush=True)
    return rows


def picture(rows):
    """The curves as SVG: seconds above, memory below, a column for what grows."""
    import vl_convert

    titles = {
        "nodes": "processor seconds of a report",
        "prompts": "processor seconds of a report",
        "tokens of an output": "ms a token (plain) or a step (3x2)",
        "tokens of a context": "ms a token (plain) or a step (3x2)",
    }
    charts = []
    for value in ("seconds", "GiB"):
        for panel, title in titles.items():
            own = [row for row in rows if row["over"] == panel]
            is_each = "ms" in title and value == "seconds"
            shown = [{**row, "y": row[value] * (1000 if is_each else 1)} for row in own]
            axis = title if value == "seconds" else "peak GiB"
            charts.append(
                {
                    "width": 190,
                    "height": 150,
                    "data": {"values": shown},
                    "mark": {"type": "line", "point": True},
                    "encoding": {
                        "x": {
                            "field": "size",
                            "type": "quantitative",
                            "scale": {"type": "log"},
                            "title": panel,
                            "axis": {"format": "~s"},
                        },
                        "y": {
                            "field": "y",
                            "type": "quantitative",
                            "scale": {"type": "log" if value == "seconds" else "linear"},
                            "title": axis,
                        },
                        "color": {"field": "line", "type": "nominal", "title": None},
                    },
                }
            )
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "concat": charts,
        "columns": len(titles),
        "config": {"background": "white"},
    }
    return vl_convert.vegalite_to_svg(spec)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="leave the largest points out")
    parser.add_argument("--write", action="store_true", help="write the picture and the README")
    options = parser.parse_args()
    rows = measure(short=options.short)
    if not options.write:
        return
    machine, packages = hardware(), versions()
    made = {
        "command": " ".join(["python", "benchmarks/growth.py", *sys.argv[1:]]),
        "hardware": f"{machine['cpus']} × {machine['cpu']}, one thread",
        "versions": {name: packages[name] for name in ("python", "torch", "transformers", "numpy")},
    }
    write_text(HERE / "growth.json", json.dumps({**made, "points": rows}, indent=1) + "\n")
    write_text(HERE / "growth.svg", picture(rows))
    readme = HERE / "README.md"
    before, _, after = readme.read_text(encoding="utf-8").partition(MARKER)
    before = before[: before.index("![Growth")] if "![Growth" in before else before
    shown = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    line = (
        "![Growth of time and memory](growth.svg)\n\n"
        f"`{made['command']}` on {made['hardware']}; {shown}; the points are in growth.json.\n"
    )
    write_text(readme, f"{before}{line}{MARKER}{after}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["decode"]:
        decode(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        main()
