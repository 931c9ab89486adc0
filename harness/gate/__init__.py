"""The gate: compares a run with an earlier one, and says whether a change made it worse.

Needs numpy and scipy only: saved runs are compared without torch.
"""

from __future__ import annotations

from harness.gate.as_json import comparison_json
from harness.gate.comparison import Comparison, compare
from harness.gate.expression import Gate, parse_gate
from harness.gate.judging import ALPHA, Judgement, Outcome
from harness.gate.measured import MeasuredRun, measured_run
from harness.gate.planning import plan_lines, plans
from harness.gate.storage import FOLDER, Storage

__all__ = [
    "ALPHA",
    "FOLDER",
    "Comparison",
    "Gate",
    "Judgement",
    "MeasuredRun",
    "Outcome",
    "Storage",
    "compare",
    "comparison_json",
    "measured_run",
    "parse_gate",
    "plan_lines",
    "plans",
]
