"""Seconds a token: plain, chains and trees, alone and in batches, beside transformers' own.

    python benchmarks/speed.py [--write]
    python benchmarks/speed.py --target DIR --draft DIR --prompts 2
    python benchmarks/speed.py --shapes llama-2-7b --dtype bfloat16 --device cuda --batches 1,8,32

Everything is decoded in turn, round after round, so that the machine's mood is in all of it; every
ratio is the median over rounds of ratios within a round, with the smallest and the largest. With
`--shapes`, models of random weights are made on the spot: acceptance means nothing there, but a
step costs what it costs with trained ones. A step's *floor* is the time in which the weights of one
target pass and of the draft passes before it can be read, at the bandwidth that copying a large
array reaches: nothing that reads them all is faster.

Prefill is in all seconds. Time that only watches (recording) is in none.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from draftproof import Bench, ReferenceEngine, RunConfig, Sampling, load_pair
from draftproof.config import BUILTIN
from draftproof.data import DOMAINS, load_prompts
from draftproof.engines.assisted import AssistedEngine
from draftproof.environment import hardware, versions
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.loading import ModelPair
from draftproof.shapes import parse_tree

README = Path(__file__).parent / "README.md"
MARKER = "<!-- speed -->"
SHAPES = {
    # Llama-2-7B and TinyLlama-1.1B, the pair of arXiv 2604.14682, by their configurations.
    "llama-2-7b": (
        {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
         "num_attention_heads": 32, "num_key_value_heads": 32},
        {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
         "num_attention_heads": 32, "num_key_value_heads": 4},
    ),
    "small": (
        {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4,
         "num_attention_heads": 8, "num_key_value_heads": 2},
        {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 2,
         "num_attention_heads": 8, "num_key_value_heads": 2},
    ),
}  # fmt: skip
VOCABULARY = 32000


@dataclass(frozen=True)
class Setting:
    """A way of decoding, with the requests that it decodes at once."""

    name: str
    at_once: int
    decode: object
    draft_passes: int = 0


def random_pair(name, dtype, device):
    """Two Llamas of random weights, with the built-in tokenizer, which no measurement asks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_pair(RunConfig(device="cpu"), lambda line: None).tokenizer
    models = []
    for seed, sizes in enumerate(SHAPES[name]):
        torch.manual_seed(seed)
        config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=4096, **sizes)
        with torch.device(device):
            before = torch.get_default_dtype()
            torch.set_default_dtype(dtype)
            models.append(HuggingFaceLM(LlamaForCausalLM(config).eval()))
            torch.set_default_dtype(before)
    target, draft = models
    facts = {"name": f"random {name}", "dtype": str(dtype).removeprefix("torch.")}
    return ModelPair(
        target=target,
        draft=draft,
        tokenizer=tokenizer,
        stop_token_ids=frozenset(),
        descriptions={"target": {**facts, "device": device}},
    )


def bandwidth(device):
    """Bytes a second that copying a large array reads and writes."""
    size = 2**30 if device.type != "cpu" else 2**27
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        synchronize(device)
        began = time.perf_counter()
        target.copy_(source)
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size / best


def synchronize(device):
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def weight_bytes(model):
    return sum(p.numel() * p.element_size() for p in model.parameters())


def settings(pair, config, trees, batches):
    """Every way of decoding that is compared; the first one is transformers' own."""

    def alone(engine, which):
        return lambda requests: [getattr(engine, which)(request) for request in requests]

    def together(engine, rows, *, plainly=False):
        return lambda requests: [
            answer for _, answer in engine.generate(requests, most_rows=rows, plainly=plainly)
        ]

    found = []
    for tree in trees:
        shape = parse_tree(tree)
        depth = shape.deepest
        options = (("draft_length", str(depth)),)
        assisted = AssistedEngine(
            replace(config, engine=AssistedEngine.name, engine_options=options), pair
        )
        found.append(
            Setting(
                f"transformers, assisted, {depth} tokens", 1, alone(assisted, "speculate"), depth
            )
        )
        engine = ReferenceEngine(pair, replace(config, tree=shape))
        for rows in batches:
            decode = alone(engine, "speculate") if rows == 1 else together(engine, rows)
            found.append(Setting(tree, rows, decode, depth))
    found.append(Setting("transformers, plain", 1, alone(assisted, "plain")))
    for rows in batches:
        decode = alone(engine, "plain") if rows == 1 else together(engine, rows, plainly=True)
        found.append(Setting("plain", rows, decode))
    return found


def measure(chosen, requests, rounds, device):
    """For each setting and round: seconds a token, seconds a step, and peak memory in bytes."""
    measured = {setting: [] for setting in chosen}
    for setting in chosen:
        setting.decode(requests[: setting.at_once])
    for number in range(rounds):
        order = chosen if number % 2 == 0 else chosen[::-1]
        for setting in order:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            answers = setting.decode(requests)
            seconds = sum(answer.seconds for answer in answers)
            tokens = sum(len(answer.token_ids) for answer in answers)
            steps = sum(
                len(answer.token_ids) if answer.steps is None else len(answer.steps["step"])
                for answer in answers
            )
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
            measured[setting].append((seconds / tokens, seconds / steps * setting.at_once, peak))
    return measured


def ratio(ours, others):
    """Median, smallest and largest of the ratios of two settings' rounds."""
    ratios = [other[0] / own[0] for own, other in zip(ours, others, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def rows_of(measured, pair, command, config):
    device = pair.target.device
    speed = bandwidth(device)
    target, draft = weight_bytes(pair.target.model), weight_bytes(pair.draft.model)
    plain = next(values for setting, values in measured.items() if setting.name == "plain")
    facts, machine, packages = pair.descriptions["target"], hardware(), versions()
    where = ", ".join(machine.get("accelerators", [])) or f"{machine['cpus']} × {machine['cpu']}"
    rows, assisted = [], None
    for setting, values in measured.items():
        if setting.name.startswith("transformers, assisted"):
            assisted = values
        floor = (target + setting.draft_passes * draft) / speed
        token, step = (statistics.median(column) for column in list(zip(*values, strict=True))[:2])
        peak = max(value[2] for value in values)
        against = ratio(values, assisted) if setting.draft_passes else "–"
        rows.append(
            f"| {facts['name']} | {facts['dtype']} on {facts['device']} | {setting.name} | "
            f"{config.sampling.temperature:g} | {setting.at_once} | {1000 * token:.2f} | "
            f"{1000 * step:.2f} | {1000 * floor:.2f} | {against} | {ratio(values, plain)} | "
            f"{'–' if not peak else f'{peak / 2**30:.2f}'} | {where} | "
            f"{packages['torch']}, {packages['transformers']} | `{command}` |"
        )
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default=BUILTIN)
    parser.add_argument("--draft", default=BUILTIN)
    parser.add_argument("--shapes", choices=SHAPES, help="random weights of these sizes")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--trees", default="chain:5,3x2", help="with commas between")
    parser.add_argument("--batches", default="1,16", help="prompts at once, with commas between")
    parser.add_argument("--temperature", default=0.0, type=float)
    parser.add_argument("--max-new-tokens", default=64, type=int)
    parser.add_argument("--prompts", default=4, type=int, help="prompts a domain")
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--write", action="store_true", help="add the rows to the README")
    options = parser.parse_args()
    config = RunConfig(
        target=options.target,
        draft=options.draft,
        dtype=options.dtype,
        device=options.device,
        sampling=Sampling(temperature=options.temperature),
        max_new_tokens=options.max_new_tokens,
        check_state=0.0,
    )
    if options.shapes:
        dtype = getattr(torch, "float32" if options.dtype == "auto" else options.dtype)
        device = "cpu" if options.device == "auto" else options.device
        pair = random_pair(options.shapes, dtype, device)
    else:
        pair = load_pair(config, print)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    requests = [
        bench.request(prompt)
        for domain in DOMAINS
        for prompt in load_prompts(domain, limit=options.prompts)
    ]
    batches = [int(text) for text in options.batches.split(",")]
    trees = parse_trees(options.trees)
    chosen = settings(pair, config, trees, batches)
    measured = measure(chosen, requests, options.rounds, pair.target.device)
    command = " ".join(["python", "benchmarks/speed.py", *sys.argv[1:]])
    rows = rows_of(measured, pair, command, config)
    print("\n".join(rows))
    if options.write:
        text = README.read_text(encoding="utf-8")
        README.write_text(text.replace(MARKER, "\n".join([*rows, MARKER])), encoding="utf-8")


def parse_trees(text):
    """Shapes between commas; a comma inside a shape's own options is followed by a name and =."""
    found = []
    for part in text.split(","):
        if "=" in part and found:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


if __name__ == "__main__":
    main()
