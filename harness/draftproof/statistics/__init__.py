"""Estimates from traces: per-prompt sums once, then figures of them with bootstrap intervals.

Needs numpy and scipy only: a saved run is analysed without torch.
"""

from __future__ import annotations

from draftproof.statistics.accuracy import Accuracy, Share, accuracy
from draftproof.statistics.bootstrap import Estimate, RatioSums, stratified_estimates
from draftproof.statistics.coupling import Coupling, Couplings, coupling
from draftproof.statistics.dependence import TaskOrDepth, WaldTest
from draftproof.statistics.findings import Finding, FindingVerdict
from draftproof.statistics.identities import check_identities
from draftproof.statistics.metrics import DEPTH_METRICS, ENTROPY_METRIC, METRICS, RatioMetric
from draftproof.statistics.ordering import DomainOrder
from draftproof.statistics.peers import PEERS, Peer, PeerValue, as_peers
from draftproof.statistics.positions import PositionProfile, PositionRange
from draftproof.statistics.resampling import Resampling
from draftproof.statistics.study import Study, study
from draftproof.statistics.summary import (
    DepthSummary,
    GroupSummary,
    RunSummary,
    VerdictCounts,
    in_domain_order,
    summarise,
)
from draftproof.statistics.sums import PromptSums, prompt_sums

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
