"""Estimates from traces: per-prompt sums once, then figures of them with bootstrap intervals.

Needs numpy and scipy only: a saved run is analysed without torch.
"""

from __future__ import annotations

from harness.statistics.accuracy import Accuracy, Share, accuracy
from harness.statistics.bootstrap import Estimate, RatioSums, Resampling, stratified_estimates
from harness.statistics.coupling import Coupling, Couplings, coupling
from harness.statistics.dependence import TaskOrDepth, WaldTest
from harness.statistics.findings import Finding, FindingVerdict
from harness.statistics.identities import check_identities
from harness.statistics.metrics import DEPTH_METRICS, ENTROPY_METRIC, METRICS, RatioMetric
from harness.statistics.ordering import DomainOrder
from harness.statistics.peers import PEERS, Peer, PeerValue, as_peers
from harness.statistics.positions import PositionProfile, PositionRange
from harness.statistics.study import Study, study
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
    "ENTROPY_METRIC",
    "METRICS",
    "PEERS",
    "Accuracy",
    "Coupling",
    "Couplings",
    "DepthSummary",
    "DomainOrder",
    "Estimate",
    "Finding",
    "FindingVerdict",
    "GroupSummary",
    "Peer",
    "PeerValue",
    "PositionProfile",
    "PositionRange",
    "PromptSums",
    "RatioMetric",
    "RatioSums",
    "Resampling",
    "RunSummary",
    "Share",
    "Study",
    "TaskOrDepth",
    "VerdictCounts",
    "WaldTest",
    "accuracy",
    "as_peers",
    "check_identities",
    "coupling",
    "in_domain_order",
    "prompt_sums",
    "stratified_estimates",
    "study",
    "summarise",
]
