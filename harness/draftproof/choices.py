"""What options can name: types, devices, rules, forms of trees and presets. Data alone.

The plugin registers its options in every test session of an environment, so that what their help
names is here, where it costs next to nothing, and not beside the code that it means.
"""

from __future__ import annotations

from typing import Any

from draftproof.laws import RULES

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
DEVICES = ("auto", "cuda", "mps", "cpu")
"""Where a model runs; ``cuda`` may go on with an index, as in ``cuda:1``."""
SPREAD = "spread"
"""A target whose layers are spread over all accelerators."""
RULE_NAMES = ("auto", *RULES)

FORMS = {
    "3x2": "depth 3, the 2 most probable tokens after every node",
    "chain:5": "5 sampled tokens; chain:5,stop=0.4 ends where the draft model is less sure, "
    "chain:8,gain=0.3 where the chance that all is kept is less",
    "sampled:3x2": "depth 3, 2 tokens drawn after every node, with replacement",
    "distinct:3x2": "the same without replacement",
    "static:[[0],[1],[0,0]]": "paths of sibling ranks, or static:FILE.json with such a list",
    "best-first:16": "the 16 surest nodes; best-first:16,depth=6,branching=4",
    "lookup:5": "no draft model: what followed the last tokens before; lookup:5,ngram=3",
    "none": "no draft: every step is one of plain decoding",
}
"""An example of each form of ``--spec-tree``, and what it stands for."""

PRESETS: dict[str, dict[str, Any]] = {
    "acceptance-dynamics": {"tree": "3x2", "limit": 50, "sampling": {"temperature": 0.0}},
}
"""Settings of published studies, by name; an option given beside a preset wins over it."""
