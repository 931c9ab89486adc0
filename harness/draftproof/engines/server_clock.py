"""How long servers say that they took: from their answers, by their own clocks.

A client's clock holds the network, the queue in front of the server and the client's own work too.
Sources, as their projects' documents and trackers show them:

- ggml-org/llama.cpp, ``tools/server/README.md``: ``timings`` has ``prompt_ms``, the time of the
  prompt, and ``predicted_ms``, that of the output after it.
- vllm-project/vllm: pull request 36383, ``metrics`` of an answer has ``time_to_first_token_ms``,
  null where the server was not started to tell it.
- sgl-project/sglang: ``meta_info`` of an answer has ``e2e_latency``, seconds of the whole request.
- lmstudio-ai/docs: ``stats`` has ``time_to_first_token`` in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from draftproof.trace import ServerSeconds

_Reader = Callable[[Mapping[str, Any]], ServerSeconds]


def answered_seconds(*places: Any) -> ServerSeconds | None:
    """The seconds up to the first token and up to the last, from the parts of an answer.

    Returns:
        NaN for one that is not told; None where neither is.

    Example:
        >>> answered_seconds(None, {"prompt_ms": 4.0, "predicted_ms": 90.0})
        (0.004, 0.094)
        >>> answered_seconds({"e2e_latency": 1.5})
        (nan, 1.5)
        >>> answered_seconds({"time_to_first_token_ms": None}) is None
        True
    """
    for place in places:
        if not isinstance(place, Mapping):
            continue
        for read in (_milliseconds, _seconds):
            first, whole = read(place)
            if not (math.isnan(first) and math.isnan(whole)):
                return first, whole
    return None


def _milliseconds(place: Mapping[str, Any]) -> ServerSeconds:
    first = _number(place, "time_to_first_token_ms", "prompt_ms") / 1000
    return first, _number(place, "prompt_ms") / 1000 + _number(place, "predicted_ms") / 1000


def _seconds(place: Mapping[str, Any]) -> ServerSeconds:
    return _number(place, "time_to_first_token"), _number(place, "e2e_latency")


def _number(place: Mapping[str, Any], *names: str) -> float:
    for name in names:
        value = place.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return math.nan
