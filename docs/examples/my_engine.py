"""An engine of one's own, for the worked example of docs/gate-example.md.

The reference engine, with a drafter that feeds its draft model itself.
"""

from __future__ import annotations

from harness.drafting.draft_model import DraftModel
from harness.drafting.static_tree import StaticTreeDrafter
from harness.engines.reference import ReferenceEngine
from harness.tree import ROOT


class MyDraftModel(DraftModel):
    """The draft model's side of a step."""

    def catch_up(self, sequence):
        self._pending = {ROOT: ROOT}
        unseen = sequence[self.model.length :]
        return self.model.advance(unseen)


class MyDrafter(StaticTreeDrafter):
    """The most probable tokens, in a tree of fixed shape."""

    def __init__(self, model, shape):
        super().__init__(model, shape)
        self._draft_model = MyDraftModel(model)


def make_engine(config, pair):
    """What ``--spec-engine my_engine:make_engine`` runs."""
    return ReferenceEngine(pair, config, drafter=MyDrafter(pair.draft, config.tree))
