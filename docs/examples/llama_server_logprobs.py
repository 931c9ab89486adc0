"""llama.cpp's server tells log-probability 0 of tokens of speculative steps: a minimal reproduction.

    python docs/examples/llama_server_logprobs.py URL PLAIN_URL

Asks a llama-server with a draft model and one without for the same greedy output and its
log-probabilities, with the standard library alone. The tokens are the same; with a draft model their
log-probabilities are 0, which is certainty.
"""

from __future__ import annotations

import json
import sys
import urllib.request

BODY = {
    "prompt": [40, 41, 42, 100, 200],
    "n_predict": 12,
    "temperature": 0,
    "n_probs": 1,
    "return_tokens": True,
}


def main(url: str, plain_url: str) -> int:
    """Prints both: 1 where the same tokens have other log-probabilities, else 0."""
    answers = []
    for address in (url, plain_url):
        asked = urllib.request.Request(
            f"{address}/completion", json.dumps(BODY).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as reply:
            answers.append(json.load(reply))
    told = [[token["logprob"] for token in each["completion_probabilities"]] for each in answers]
    for name, values in zip(("speculative", "plain"), told, strict=True):
        print(f"{name}: {' '.join(f'{value:.3f}' for value in values)}")
    same = answers[0]["tokens"] == answers[1]["tokens"]
    print(f"the same tokens: {same}")
    return int(same and any(abs(a - b) > 0.01 for a, b in zip(*told, strict=True)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
