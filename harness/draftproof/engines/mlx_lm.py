"""How ``mlx_lm.server`` is asked for tokens, and what its answers leave out.

``logprobs`` is a switch there, and the ids of the output stand beside the log-probabilities of a
whole answer (``logprobs.content[].id``); streamed answers have neither. Its filters are applied
before the temperature. Source: ml-explore/mlx-lm's ``server.py``.
"""

from __future__ import annotations

from typing import Any

from draftproof.engines.protocol import Request

_ANY_MODEL = "default_model"
"""What it calls the model that it was started with; any other name is looked for on the hub."""


def ask_mlx_lm(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request."""
    return {
        "model": _ANY_MODEL if model == "default" else model,
        "prompt": prompt,
        "max_tokens": request.stopping.max_new_tokens,
        "temperature": request.sampling.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "min_p": 0.0,
        "seed": request.folded_seed(),
        "logprobs": True,
        "stream": False,
    }
