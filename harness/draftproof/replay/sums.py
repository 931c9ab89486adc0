"""What replaying says of each prompt: sums of which every figure is a ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySums:
    """Per-prompt sums of many configurations; each ``[configurations, cases]``.

    Expectations given the trajectory where the drafts are drawn, else counts.

    Attributes:
        steps: Target forward passes after prefill.
        drafted: Tokens proposed.
        accepted: Of these, tokens kept, before an end cuts them off.
        root_positions: Sum over steps of the root's position in the sequence: of the context that a
            step's forward passes attend to.
        committed: ``[cases]`` tokens that steps added to the output: all but the first.
        steps_by_depth: ``[configurations, cases, depth + 1]`` the steps by how deep their drafts
            were, where the end of a context makes some shallower than the configuration; else None.
    """

    steps: np.ndarray
    drafted: np.ndarray
    accepted: np.ndarray
    root_positions: np.ndarray
    committed: np.ndarray
    steps_by_depth: np.ndarray | None = None

    @property
    def block_efficiency(self) -> np.ndarray:
        """``[configurations]`` committed tokens ÷ steps, over all prompts; NaN without a step."""
        steps = self.steps.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(steps > 0, self.committed.sum() / steps, np.nan))
