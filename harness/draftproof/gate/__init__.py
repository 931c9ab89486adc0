"""The gate: compares a run with an earlier one, and says whether a change made it worse.

Needs numpy and scipy only: saved runs are compared without torch.
"""

from __future__ import annotations

from draftproof.gate.as_json import comparison_json
from draftproof.gate.comparison import Comparison, compare
from draftproof.gate.expression import Gate, parse_gate
from draftproof.gate.judging import ALPHA, Judgement, Outcome
from draftproof.gate.measured import MeasuredRun, measured_run
from draftproof.gate.planning import plan_lines, plans
from draftproof.gate.storage import FOLDER, Storage

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
