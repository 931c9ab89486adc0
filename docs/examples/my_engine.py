"""An engine of one's own, for the worked example of docs/gate-example.md.

The reference engine, with a drafter that keeps its own account of its draft model's cache.
"""

from __future__ import annotations

from draftproof.drafting.draft_model import DraftModel
from draftproof.drafting.static_tree import StaticTreeDrafter
from draftproof.engines.reference import ReferenceEngine


class MyDraftModel(DraftModel):
    """The draft model's side of a step. It scores a draft level by level, its leaves excepted."""

    def __init__(self, model):
        super().__init__(model)
        self._levels = []

    def score(self, nodes, token_ids, parents):
        self._levels.append(nodes)
        return super().score(nodes, token_ids, parents)

    def commit(self, path):
        kept = path[: len(self._levels)]
        super().commit(kept)
        self._levels = []


class MyDrafter(StaticTreeDrafter):
    """The most probable tokens, in a tree of fixed shape."""

    def __init__(self, model, shape):
        super().__init__(model, shape)
        self._draft_model = MyDraftModel(model)


def make_engine(config, pair):
    """What ``--spec-engine my_engine:make_engine`` runs."""
    return ReferenceEngine(pair, config, drafter=MyDrafter(pair.draft, config.tree))
