"""Verification as a function of tensors: rejection samplers, tree verifiers, logits processors."""

from __future__ import annotations

from draftproof.kernels.contract import (
    ChainCall,
    Kernel,
    KernelFacts,
    RandomSource,
    Shape,
    TreeCall,
    declare,
)
from draftproof.kernels.parametrised import pytest_checks
from draftproof.kernels.regression import require_law
from draftproof.kernels.tables import DraftTable

__all__ = [
    "ChainCall",
    "DraftTable",
    "Kernel",
    "KernelFacts",
    "RandomSource",
    "Shape",
    "TreeCall",
    "declare",
    "pytest_checks",
    "require_law",
]
