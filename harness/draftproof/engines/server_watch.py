"""What a server's own counters and gauges say over a whole run: read while it lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from draftproof.engines.server_counters import metric_samples, metric_totals
from draftproof.engines.server_histograms import (
    Buckets,
    grown,
    metric_histograms,
    percentiles,
)
from draftproof.errors import EngineError

SECONDS_BETWEEN = 1.0

_PREEMPTIONS = ("vllm:num_preemptions",)
_GAUGES: Mapping[str, tuple[str, ...]] = {
    "running": (
        "vllm:num_requests_running",
        "sglang:num_running_reqs",
        "llamacpp:requests_processing",
        "trtllm_num_requests_running",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "sglang:num_queue_reqs",
        "llamacpp:requests_deferred",
        "trtllm_num_requests_waiting",
    ),
    "cache_usage": (
        "vllm:kv_cache_usage_perc",
        "sglang:token_usage",
        "trtllm_kv_cache_utilization",
    ),
}
"""The names of each gauge. Of data-parallel engines, requests are added up; of cache usage, the
largest is taken."""


class ServerWatch:
    """Reads a server's metrics now and then, in a thread of its own, once for all of a run.

    Args:
        read: The metrics in Prometheus' text format.
        seconds_between: Pause between two readings.
    """

    def __init__(
        self, read: Callable[[], str], *, seconds_between: float = SECONDS_BETWEEN
    ) -> None:
        self._read = read
        self._seconds_between = seconds_between
        self._ended = threading.Event()
        self._grown: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._largest: dict[str, float] = {}
        self._first_histograms: dict[str, Buckets] = {}
        self._last_histograms: dict[str, Buckets] = {}
        self._readings, self._restarts, self._problem = 0, 0, ""
        self._thread = threading.Thread(target=self._watch, name="server's metrics", daemon=True)

    def start(self) -> None:
        """Read for the first time, and go on until `stop`."""
        self._look()
        self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Read for the last time.

        Returns:
            ``grown``: by how much each counter grew (``drafted_steps``, ``drafted``, ``accepted``,
            ``generated``, ``preemptions``), of those that are there. ``largest``: the largest value
            seen of ``running``, ``waiting`` (requests) and ``cache_usage`` (a share).
            ``seconds``: of each of `HISTOGRAMS` that is there, the `percentiles` of what was added
            to it; of none where a counter went down. ``readings``: how many there were.
            ``restarts``: how often a counter went down. ``problem``: why a reading failed; may be
            empty.
        """
        self._ended.set()
        self._thread.join()
        self._look()
        return {
            "grown": {name: round(value) for name, value in self._grown.items()},
            "largest": dict(self._largest),
            "seconds": self._seconds(),
            "readings": self._readings,
            "restarts": self._restarts,
            "problem": self._problem,
        }

    def _seconds(self) -> dict[str, Any]:
        if self._restarts:
            return {}
        added = grown(self._first_histograms, self._last_histograms)
        return {figure: percentiles(buckets) for figure, buckets in added.items()}

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds_between):
            self._look()

    def _look(self) -> None:
        try:
            text = self._read()
        except EngineError as error:
            self._problem = self._problem or str(error)
            return
        self._readings += 1
        self._last_histograms = metric_histograms(text)
        if self._readings == 1:
            self._first_histograms = self._last_histograms
        totals = metric_totals(text)
        preemptions = [value for name, value in metric_samples(text) if name in _PREEMPTIONS]
        if preemptions:
            totals["preemptions"] = sum(preemptions)
        if any(totals.get(name, 0.0) < value for name, value in self._last.items()):
            self._restarts += 1
        for name, value in totals.items():
            # What a server counts after it was restarted, it counts from 0.
            before = self._last.get(name, value if self._readings == 1 else 0.0)
            self._grown[name] = self._grown.get(name, 0.0) + (
                value - before if value >= before else value
            )
        self._last = totals
        for gauge, names in _GAUGES.items():
            seen = [value for name, value in metric_samples(text) if name in names]
            if seen:
                now = max(seen) if gauge == "cache_usage" else sum(seen)
                self._largest[gauge] = max(self._largest.get(gauge, 0.0), now)
