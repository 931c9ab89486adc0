"""Estimates from traces: per-prompt sums once, then ratios of them with bootstrap intervals.

Needs numpy only: a saved run is analysed without torch.
"""

from __future__ import annotations

from harness.statistics.bootstrap import Estimate, RatioSums, Resampling, stratified_estimates
from harness.statistics.metrics import DEPTH_METRICS, METRICS, RatioMetric
from harness.statistics.summary import (
    DepthSummary,
    GroupSummary,
    RunSummary,
    VerdictCounts,
    in_domain_order,
    summarise,
)
from harness.statistics.sums import PromptSums, prompt_sums

__all__ = [
    "DEPTH_METRICS",
    "METRICS",
    "DepthSummary",
    "Estimate",
    "GroupSummary",
    "PromptSums",
    "RatioMetric",
    "RatioSums",
    "Resampling",
    "RunSummary",
    "VerdictCounts",
    "in_domain_order",
    "prompt_sums",
    "stratified_estimates",
    "summarise",
]
