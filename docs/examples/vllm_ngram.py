"""Three faults of n-gram speculation in vLLM's server on a CPU: a minimal reproduction.

    python docs/examples/vllm_ngram.py URL MODEL [--top-k]

Asks a vLLM server with requests of the standard library, and scores its answers with transformers. URL is
the server's address, MODEL the folder or hub id that it serves. With --top-k it asks for one request more,
after which a server with the fault is gone. Run it against a server without --speculative-config, too:
there nothing is wrong.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a"
IMPROBABLE = 1e-4


def main(url: str, name: str, with_top_k: bool) -> int:
    """Prints what is wrong: 1 where anything is, else 0."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(name),
        AutoModelForCausalLM.from_pretrained(name),
    )
    prompt = tokenizer(PROMPT)["input_ids"]
    with urllib.request.urlopen(f"{url}/v1/models") as reply:
        served = json.load(reply)["data"][0]["id"]

    def answer(seed: int, **settings: float) -> list[int]:
        body = {
            "model": served,
            "prompt": prompt,
            "max_tokens": 32,
            "seed": seed,
            "temperature": 1.0,
        }
        asked = json.dumps({**body, "return_token_ids": True, **settings}).encode()
        header = {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/v1/completions", asked, header)
        ) as reply:
            return list(json.load(reply)["choices"][0]["token_ids"])

    outputs = [answer(seed) for seed in range(8)]
    improbable, expected = 0, 0.0
    for output in outputs:
        with torch.no_grad():
            logits = model(torch.tensor([prompt + output])).logits[0, len(prompt) - 1 : -1]
        laws = logits.double().softmax(-1)
        chosen = laws.gather(-1, torch.tensor(output)[:, None])
        improbable += int((chosen < IMPROBABLE).sum())
        expected += float(laws.where(laws < IMPROBABLE, 0).sum())
    tokens = sum(map(len, outputs))
    again = [answer(seed) == output for seed, output in enumerate(outputs)]
    print(f"tokens with p < {IMPROBABLE:g}: {improbable} of {tokens}; expected: {expected:.1f}")
    print(f"requests with a seed that were answered the same again: {sum(again)} of {len(again)}")
    died = False
    if with_top_k:
        try:
            print(f"top_k 3: answered with {len(answer(0, top_k=3))} tokens")
        except urllib.error.HTTPError as error:
            died = True
            print(f"top_k 3: {error.code}: {error.read().decode()[:100]}")
    return int(improbable > 10 + 3 * expected or not all(again) or died)


if __name__ == "__main__":
    arguments = [word for word in sys.argv[1:] if word != "--top-k"]
    sys.exit(main(arguments[0], arguments[1], "--top-k" in sys.argv))
