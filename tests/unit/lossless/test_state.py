"""State equivalence: it sees what leaves the output lossless and only costs acceptance."""

import pytest
import torch
from strategies import tiny_lm

from draftproof.acceptance import GreedyRule
from draftproof.config import Sampling
from draftproof.decoding import speculate
from draftproof.drafting import LookupDrafter, make_drafter
from draftproof.drafting.draft_model import DraftModel
from draftproof.errors import StateError
from draftproof.lossless.state import StepChecker
from draftproof.randomness import SeededRandomness
from draftproof.shapes import ChainShape, KAryShape, LookupShape
from draftproof.stopping import Stopping
from draftproof.tree import ROOT, DraftTree


def run(drafter, target, draft, *, share=1.0, new=24, new_drafter=None, prompt=(1, 2, 3)):
    checker = StepChecker(target, draft, new_drafter=new_drafter, share=share)
    steps = 0

    def observe(step, committed):
        nonlocal steps
        steps += 1
        checker(step, committed)

    speculate(
        prompt,
        target,
        drafter,
        GreedyRule(),
        sampling=Sampling(),
        stopping=Stopping(max_new_tokens=new),
        randomness=SeededRandomness(0, "case"),
        observe=observe,
    )
    return checker.checked, steps


@pytest.mark.parametrize("shape", [ChainShape(4), KAryShape(3, 2)])
def test_a_sound_engine_passes_at_every_step(shape):
    target, draft = tiny_lm(0), tiny_lm(0, layers=1)
    checked, steps = run(make_drafter(shape, draft), target, draft)
    assert checked == steps > 4


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_share_is_kept_whatever_the_length_of_the_run(share):
    target, draft = tiny_lm(0), tiny_lm(1, layers=1)
    checked, steps = run(make_drafter(ChainShape(2), draft), target, draft, share=share, new=80)
    assert abs(checked - share * steps) <= 1.5


class MissesTheLastToken(DraftModel):
    """After a fully kept draft, only the new root is fed, and not the last token before it."""

    missed = 0

    def catch_up(self, sequence):
        self._pending = {ROOT: ROOT}
        unseen = sequence[self.model.length + self.missed :]
        self.missed += len(unseen) - 1
        return self.model.advance(unseen[-1:])


def test_a_draft_model_that_misses_a_token_is_named():
    target, draft = tiny_lm(0), tiny_lm(0)
    drafter = make_drafter(ChainShape(2), draft)
    drafter._draft_model = MissesTheLastToken(draft)
    with pytest.raises(StateError, match="draft model: after .* tokens, at depth 0"):
        run(drafter, target, draft)


class OffByAFraction:
    """A target whose cached logits are a little wrong, as with a zero key left in the cache."""

    def __init__(self, model):
        self.inner = model

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def score(self, token_ids, parents):
        logits = self.inner.score(token_ids, parents)
        return logits + 0.05 * torch.sin(torch.arange(logits.shape[-1]))


def test_a_target_that_is_a_little_wrong_is_named():
    target, draft = OffByAFraction(tiny_lm(0)), tiny_lm(1, layers=1)
    with pytest.raises(StateError, match="target: after 4 tokens, at depth 0"):
        run(make_drafter(KAryShape(2, 2), draft), target, draft)


class RemembersTheRequestBefore(LookupDrafter):
    """Prompt lookup that also looks into prompts of earlier requests."""

    def __init__(self, shape):
        super().__init__(shape)
        self.seen = []

    def start(self, prompt):
        self.seen += prompt

    def draft(self, sequence, room, law, randomness):
        length = len(self.seen)
        draft = super().draft([*self.seen, *sequence], room, law, randomness)
        assert length
        return draft


def test_a_lookup_that_remembers_another_request_is_named():
    shape = LookupShape(3, 2)
    drafter = RemembersTheRequestBefore(shape)
    drafter.start((1, 2, 3, 4, 4, 3, 2, 1, 0, 2, 3, 1, 0, 4))
    with pytest.raises(StateError, match="left over from an earlier request"):
        run(drafter, tiny_lm(0), None, new_drafter=lambda: LookupDrafter(shape))


def test_a_sound_lookup_passes():
    shape = LookupShape(3, 2)
    checked, steps = run(
        LookupDrafter(shape), tiny_lm(0), None, new_drafter=lambda: LookupDrafter(shape)
    )
    assert checked == steps


def test_a_draft_that_was_cut_for_want_of_room_passes():
    target, draft = tiny_lm(0, max_length=12), tiny_lm(1, layers=1)
    checked, steps = run(make_drafter(KAryShape(3, 2), draft), target, draft, new=50)
    assert checked == steps > 0


def test_a_step_without_a_draft_checks_the_target_alone():
    class Silent(LookupDrafter):
        def draft(self, sequence, room, law, randomness):
            from draftproof.drafting import Draft

            return Draft(tree=DraftTree(token_ids=(), parents=(), law=self.law))

    checked, steps = run(Silent(LookupShape(2)), tiny_lm(0), None)
    assert checked == steps == 23
