"""Scores outputs against reference answers: numbers, labels, and code by running it.

A lossless engine must not change a score; a lossy one is judged by how much it does. What is scored
is the last answer that a text commits itself to, by rules that are stated with each function.
"""

from __future__ import annotations

from draftproof.scoring.code import score_code
from draftproof.scoring.label import extract_label, score_label
from draftproof.scoring.number import extract_number, parse_number, score_number
from draftproof.scoring.scores import score, score_pair

__all__ = [
    "extract_label",
    "extract_number",
    "parse_number",
    "score",
    "score_code",
    "score_label",
    "score_number",
    "score_pair",
]
