"""Wall time of drafting, measured outside the drafters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float

from draftproof.drafting.protocol import Draft, Drafter, FeatureDrafter
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw
from draftproof.stopwatch import Stopwatch


class TimedDrafter:
    """A `Drafter` whose work another one does, and a stopwatch measures.

    Args:
        drafter: Does the work.
        stopwatch: Runs during `draft` and `commit`.
    """

    def __init__(self, drafter: Drafter, stopwatch: Stopwatch) -> None:
        self._drafter = drafter
        self._stopwatch = stopwatch
        self.law = drafter.law

    def start(self, prompt: Sequence[int]) -> None:
        self._drafter.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        with self._stopwatch.running():
            return self._drafter.draft(sequence, room, law, randomness)

    @property
    def target_layers(self) -> Sequence[int]:
        """Those of the drafter; none where it reads no features."""
        return self._drafter.target_layers if isinstance(self._drafter, FeatureDrafter) else ()

    def read(self, features: Float[torch.Tensor, "tokens layers size"]) -> None:
        if isinstance(self._drafter, FeatureDrafter):
            with self._stopwatch.running():
                self._drafter.read(features)

    def commit(self, path: Sequence[int]) -> None:
        with self._stopwatch.running():
            self._drafter.commit(path)
