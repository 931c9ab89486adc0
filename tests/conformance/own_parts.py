"""Drafters and acceptance rules of a user's own, right and wrong ones."""

from draftproof.acceptance import RejectionRule
from draftproof.drafting import ChainDrafter, Draft, StaticTreeDrafter
from draftproof.shapes import ChainShape, KAryShape


class TwoLevels(StaticTreeDrafter):
    def __init__(self, model):
        super().__init__(model, KAryShape(2, 2))


class TwoInARow(ChainDrafter):
    is_chain = True

    def __init__(self, model):
        super().__init__(model, ChainShape(2))


class TellsAnotherLaw(TwoInARow):
    """Draws from q, and says that it drew from a flatter one."""

    def draft(self, sequence, room, law, randomness):
        draft = super().draft(sequence, room, law, randomness)
        if draft.probabilities is None:
            return draft
        told = draft.probabilities**0.7
        return Draft(
            tree=draft.tree,
            rows=draft.rows,
            logits=draft.logits,
            probabilities=told / told.sum(-1, keepdim=True),
        )


class NeedsManyIds(TwoLevels):
    def __init__(self, model):
        if model is not None and model.vocabulary_size < 100:
            raise ValueError("100 ids at least")
        super().__init__(model)


class Cold(RejectionRule):
    """Verifies with a colder target."""

    def accept(self, draft, target, randomness):
        colder = target**1.3
        return super().accept(draft, colder / colder.sum(-1, keepdim=True), randomness)


class Keeps(RejectionRule):
    """A right rule under another class."""


class NoDrafter:
    def __init__(self, model):
        pass


def no_model():
    return TwoLevels(None)


A_NUMBER = 7
