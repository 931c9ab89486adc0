"""Prompt lookup: what followed the last tokens when they occurred before. No draft model."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.continuation import continuation
from draftproof.drafting.protocol import Draft
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw
from draftproof.shapes import LookupShape
from draftproof.tree import DraftTree


class LookupDrafter:
    """Proposes the tokens that followed the latest earlier occurrence of the last tokens.

    Longer runs are looked up before shorter ones. Nothing is kept between steps or prompts.

    Args:
        shape: Tokens proposed at most, and the longest run that is looked up.

    Source:
        Prompt lookup decoding, Saxena 2023.
    """

    law = LookupShape.law

    def __init__(self, shape: LookupShape) -> None:
        self._shape = shape

    def start(self, prompt: Sequence[int]) -> None:
        """Nothing to forget."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        found = continuation(sequence, self._shape.ngram)[: max(0, min(self._shape.length, room))]
        return Draft(
            tree=DraftTree(
                token_ids=tuple(found), parents=tuple(range(-1, len(found) - 1)), law=self.law
            )
        )

    def commit(self, path: Sequence[int]) -> None:
        """Nothing to keep."""
