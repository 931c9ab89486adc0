"""How long requests took by a server's own histograms: what grew between two readings.

A histogram tells in which bucket a duration lies, and no more: a percentile is an interval of
seconds, and not a point. Sources: vLLM 0.32.0's ``v1/metrics/loggers.py``; sgl-project/sglang's
``test_metrics`` of 2026 (``sglang:inter_token_latency_seconds_bucket``) and the names that its
dashboards read; NVIDIA/TensorRT-LLM's ``tensorrt_llm/metrics/collector.py`` at 050f80d, which
``trtllm-serve`` shows under ``/prometheus/metrics``. llama.cpp's server has gauges alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

HISTOGRAMS: Mapping[str, tuple[str, ...]] = {
    "time_to_first_token": (
        "vllm:time_to_first_token_seconds",
        "sglang:time_to_first_token_seconds",
        "trtllm_time_to_first_token_seconds",
    ),
    "inter_token_latency": (
        "vllm:inter_token_latency_seconds",
        "sglang:inter_token_latency_seconds",
    ),
    "time_per_output_token": (
        "vllm:request_time_per_output_token_seconds",
        "trtllm_time_per_output_token_seconds",
    ),
    "request_latency": (
        "vllm:e2e_request_latency_seconds",
        "sglang:e2e_request_latency_seconds",
        "trtllm_e2e_request_latency_seconds",
    ),
    "queue_time": (
        "vllm:request_queue_time_seconds",
        "sglang:queue_time_seconds",
        "trtllm_request_queue_time_seconds",
    ),
}
"""The names of each histogram. Time per output token is a mean over a request, and counts once a
request; inter-token latency counts every wait."""

PERCENTILES = (50, 90, 99)

_BUCKET = re.compile(r'^([A-Za-z_:][\w:]*)_bucket\{(?:.*,)?\s*le="([^"]+)".*\}\s+(\S+)')

Buckets = dict[float, float]
"""By upper bound in seconds, how many durations were at most that long; ∞ has all of them."""


def metric_histograms(text: str) -> dict[str, Buckets]:
    """The histograms of a server's metrics, over all its engines and models.

    Args:
        text: In Prometheus' text format.

    Returns:
        Those of `HISTOGRAMS` that are there.

    Example:
        >>> metric_histograms('vllm:request_queue_time_seconds_bucket{engine="0",le="0.3"} 7')
        {'queue_time': {0.3: 7.0}}
    """
    found: dict[str, Buckets] = {}
    for match in filter(None, map(_BUCKET.match, text.splitlines())):
        for figure, names in HISTOGRAMS.items():
            if match.group(1) in names:
                with suppress(ValueError):  # what stands there is no number, and no bucket
                    bound, count = float(match.group(2)), float(match.group(3))
                    buckets = found.setdefault(figure, {})
                    buckets[bound] = buckets.get(bound, 0.0) + count
    return found


def grown(before: Mapping[str, Buckets], after: Mapping[str, Buckets]) -> dict[str, Buckets]:
    """What was added to histograms between two readings; one that shrank is left out."""
    found = {}
    for figure, buckets in after.items():
        first = before.get(figure, {})
        added = {bound: buckets[bound] - first.get(bound, 0.0) for bound in sorted(buckets)}
        counts = [0.0, *added.values()]
        if math.inf in added and all(fewer <= more for fewer, more in pairwise(counts)):
            found[figure] = added
    return found


def percentiles(buckets: Mapping[float, float]) -> dict[str, Any]:
    """Between which bounds the percentiles of some durations lie.

    Args:
        buckets: `Buckets` with ∞ among them.

    Returns:
        ``n``: how many durations there are. ``p50``, ``p90``, ``p99``: pairs of seconds; a
        percentile is more than the first and at most the second, None where the longest bucket has
        no end. Without any duration, ``n`` alone.

    Example:
        >>> percentiles({0.1: 6, 0.5: 9, math.inf: 10})
        {'n': 10, 'p50': [0.0, 0.1], 'p90': [0.1, 0.5], 'p99': [0.5, None]}
    """
    bounds = sorted(buckets)
    n = round(buckets[math.inf])
    found: dict[str, Any] = {"n": n}
    for percent in PERCENTILES if n else ():
        rank = math.ceil(n * percent / 100)
        place = next(index for index, bound in enumerate(bounds) if buckets[bound] >= rank)
        above = bounds[place]
        below = bounds[place - 1] if place else min(0.0, above)
        found[f"p{percent}"] = [below, None if math.isinf(above) else above]
    return found
