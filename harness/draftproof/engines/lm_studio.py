"""How LM Studio's server is asked.

Its answers hold text alone, and what it counted of speculation (``stats``). Speculation is asked
for with the request (``draft_model``). Source: lmstudio-ai/docs, *REST API v0* and *API Changelog*.
"""

from __future__ import annotations

from typing import Any

from draftproof.engines.protocol import Request


def ask_lm_studio(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": request.stopping.max_new_tokens,
        "temperature": request.sampling.temperature,
        "top_p": 1.0,
        "top_k": 0,
        "repeat_penalty": 1.0,
        "seed": request.folded_seed(),
        "stream": False,
    }
