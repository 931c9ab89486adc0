"""The gate: says whether a run is worse than an earlier one, or than a bound.

Needs numpy and scipy only: saved runs are compared without torch.
"""

from __future__ import annotations

from draftproof.gate.as_json import comparison_json
from draftproof.gate.comparison import Comparison, compare, judge_alone
from draftproof.gate.expression import Gate, parse_gate
from draftproof.gate.judging import ALPHA, Judgement, Outcome
from draftproof.gate.measured import MeasuredRun, measured_run
from draftproof.gate.planning import plan_lines, plans, undecidable_lines
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
    "judge_alone",
    "measured_run",
    "parse_gate",
    "plan_lines",
    "plans",
    "undecidable_lines",
]
