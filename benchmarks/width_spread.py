"""How far a target alone varies with the width of the block that it scores, by dtype.

    python benchmarks/width_spread.py --target MODEL --dtype bfloat16 --write

Plain greedy outputs are scored again, without any draft, in one pass and in blocks of several
widths. The spread of a place is the largest difference of a logit among its likely tokens; from its
largest, `--spec-tie-tolerance` has its default. --write adds the row to docs/verify.md.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import torch

from draftproof import RunConfig, Sampling, load_pair, plain_decode
from draftproof.data import DOMAINS, load_prompts
from draftproof.environment import hardware, versions
from draftproof.lossless.certificate import target_dtype
from draftproof.lossless.widths import LIKELY_TOKENS
from draftproof.randomness import SeededRandomness
from draftproof.sampling import promoted
from draftproof.stopping import Stopping

DOCUMENT = Path(__file__).parent.parent / "docs" / "verify.md"
WIDTHS = (1, 2, 5, 9, 15)


def scored_in_blocks(model, prompt, output, width):
    """``[tokens, vocabulary]`` the logits before each token, scored in blocks of a width."""
    sequence = [*prompt, *output]
    model.reset()
    model.advance(sequence[: len(prompt) - 1])
    rows, at = [], len(prompt) - 1
    while at < len(sequence) - 1:
        block = sequence[at : min(at + width, len(sequence) - 1)]
        rows.append(promoted(model.score(block, range(-1, len(block) - 1))))
        model.commit(range(len(block)))
        at += len(block)
    return torch.cat(rows)


def measure(pair, prompts, new):
    """Spreads, how often the argmax changes, and the largest margin that was bridged."""
    spreads, changed, bridged = [], 0, 0.0
    for prompt in prompts:
        ids = pair.encode(prompt.text)
        output = plain_decode(
            ids,
            pair.target,
            sampling=Sampling(),
            stopping=Stopping(max_new_tokens=new, stop_token_ids=pair.stop_token_ids),
            randomness=SeededRandomness(0, prompt.prompt_id),
        ).token_ids
        whole = promoted(pair.target.recompute([*ids, *output])[len(ids) - 1 : -1])
        ways = torch.stack(
            [whole, *(scored_in_blocks(pair.target, ids, output, w) for w in WIDTHS)]
        )
        likely = whole.topk(LIKELY_TOKENS, dim=-1).indices
        among = ways.gather(-1, likely.expand(len(ways), -1, -1))
        spreads.append((among.max(0).values - among.min(0).values).max(-1).values)
        best = ways.argmax(-1)
        for place in (best != best[0]).any(0).nonzero().flatten().tolist():
            changed += 1
            chosen = whole[place, best[:, place]]
            bridged = max(bridged, float(chosen.max() - chosen.min()))
    return torch.cat(spreads).double().numpy(), changed, bridged


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="builtin")
    parser.add_argument("--draft", default="builtin", help="loaded with it, not used")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=int, default=3, help="of each domain")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    config = RunConfig(target=arguments.target, draft=arguments.draft, dtype=arguments.dtype)
    pair = load_pair(config, lambda line: print(line, file=sys.stderr))
    prompts = [
        prompt
        for domain in DOMAINS
        for prompt in load_prompts(
            domain, source="builtin", data_dir=None, limit=arguments.prompts, seed=0
        )
    ]
    spreads, changed, bridged = measure(pair, prompts, arguments.max_new_tokens)
    found = versions()
    row = (
        f"| {pair.descriptions['target']['name']} | {target_dtype(pair.target)} on "
        f"{pair.descriptions['target']['device']} | {len(spreads)} | {np.median(spreads):.2g} | "
        f"{np.quantile(spreads, 0.99):.2g} | {spreads.max():.2g} | {changed} | {bridged:.2g} | "
        f"{hardware()['cpus']} × {hardware()['cpu']} | {found['torch']}, {found['transformers']} | "
        f"`python benchmarks/width_spread.py {' '.join(sys.argv[1:])}` |"
    )
    print(row)
    if arguments.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        key = row.split("|")[1:3]
        kept = re.sub(rf"\|{re.escape(key[0])}\|{re.escape(key[1])}\|[^\n]*\n", "", text)
        DOCUMENT.write_text(
            kept.replace("<!-- end of width spread -->", f"{row}\n<!-- end of width spread -->"),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
