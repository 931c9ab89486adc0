"""Milliseconds of one attention layer for a block of tree nodes over a cache, four ways.

    python benchmarks/attention.py [--write]
    python benchmarks/attention.py --device cuda --dtype bfloat16 --write

Grouped-query attention with a mask can be computed with the keys and values of a group repeated for
each of its query heads, as `transformers` does; by the kernel itself (`enable_gqa`); or with the
query heads of a group folded into the query's length, as `draftproof.models.attention` does. *No
mask* is what plain decoding would take, and is no way to score a tree: it is the floor. All ways
are timed in turn, round after round, and the ratios are medians of those within a round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from draftproof.environment import hardware, versions
from draftproof.models.attention import grouped_attention

README = Path(__file__).parent / "README.md"
MARKER = "<!-- attention -->"
SHAPES = {
    # Heads, key-value heads and their size, by the models' configurations.
    "Qwen2.5-1.5B": (12, 2, 128),
    "TinyLlama-1.1B": (32, 4, 64),
}


def folded(query, keys, values, mask):
    """The product's own."""
    output, _ = grouped_attention(torch.nn.Module(), query, keys, values, mask)
    return output.transpose(1, 2)


def repeated(query, keys, values, mask):
    each = query.shape[1] // keys.shape[1]
    keys, values = (states.repeat_interleave(each, 1) for states in (keys, values))
    return attention(query, keys, values, attn_mask=mask)


def grouped(query, keys, values, mask):
    return attention(query, keys, values, attn_mask=mask, enable_gqa=True)


def without_mask(query, keys, values, mask):
    return attention(query, keys, values, enable_gqa=True)


WAYS = {
    "no mask (floor)": without_mask,
    "repeated": repeated,
    "enable_gqa": grouped,
    "folded": folded,
}


def measure(shape, nodes, slots, rounds, calls, dtype, device):
    """Median milliseconds of each way, and the largest difference from the first with a mask."""
    heads, groups, size = SHAPES[shape]
    torch.manual_seed(0)
    query = torch.randn(1, heads, nodes, size, dtype=dtype, device=device)
    keys, values = torch.randn(2, 1, groups, slots, size, dtype=dtype, device=device)
    mask = torch.rand(1, 1, nodes, slots, device=device) < 0.9
    outputs = {name: way(query, keys, values, mask) for name, way in WAYS.items()}
    for name, output in outputs.items():
        if name != "no mask (floor)":
            torch.testing.assert_close(output, outputs["repeated"], atol=2e-2, rtol=2e-2)
    taken = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            synchronise(device)
            began = time.perf_counter()
            for _ in range(calls):
                way(query, keys, values, mask)
            synchronise(device)
            taken[name].append((time.perf_counter() - began) / calls)
    return {
        name: (
            1000 * statistics.median(seconds),
            statistics.median(a / b for a, b in zip(taken["repeated"], seconds, strict=True)),
        )
        for name, seconds in taken.items()
    }


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=15, help="tokens of a block")
    parser.add_argument("--slots", type=int, default=1024, help="keys that it attends to")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=50, help="calls timed together")
    parser.add_argument("--threads", type=int, default=1, help="threads of a CPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--write", action="store_true", help="put the rows into README.md")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device, dtype = torch.device(asked.device), getattr(torch, asked.dtype)
    found = hardware()
    machine = (found.get("accelerators") or [f"{found['cpus']} × {found['cpu']}"])[0]
    software = versions()
    command = " ".join(["python benchmarks/attention.py", *sys.argv[1:]])
    rows = []
    with torch.inference_mode():
        for shape in SHAPES:
            measured = measure(
                shape, asked.nodes, asked.slots, asked.rounds, asked.calls, dtype, device
            )
            for name, (milliseconds, ratio) in measured.items():
                rows.append(
                    f"| {shape} | {asked.dtype} on {asked.device}, threads: {asked.threads} | "
                    f"{asked.nodes} × {asked.slots} | {name} | {milliseconds:.2f} | {ratio:.2f} | "
                    f"{machine} | {software['torch']} | `{command}` |"
                )
                print(rows[-1], flush=True)
    if asked.write:
        text = README.read_text()
        README.write_text(text.replace(MARKER, "\n".join([*rows, MARKER])))


if __name__ == "__main__":
    main()
