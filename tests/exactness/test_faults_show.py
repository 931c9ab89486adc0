"""The exact check is worth what it catches: faults put in on purpose, each of which shows."""

import pytest
import torch
from tables import adversarial, pair_from

from draftproof.acceptance import block, make_rule, multi_round, traversal
from draftproof.config import Sampling
from draftproof.drafting import chain, make_drafter, sampled_tree
from draftproof.errors import DraftError
from draftproof.lossless.exact_law import largest_difference, plain_law, speculative_law
from draftproof.randomness import Purpose
from draftproof.sampling import TokenLaw
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping
from draftproof.tree import DraftTree

PROMPT = (0, 1, 0)
VISIBLE = 1e-3


def difference(name, rule, text, *, length=3, sampling=None, stop=2):
    sampling = sampling or Sampling(temperature=1.0)
    target, draft = pair_from(*adversarial()[name])
    shape = parse_tree(text)
    stopping = Stopping(max_new_tokens=length, stop_token_ids=frozenset({stop}))
    plain = plain_law(PROMPT, target, sampling=sampling, stopping=stopping)
    speculative = speculative_law(
        PROMPT,
        target,
        make_drafter(shape, draft),
        make_rule(rule, shape, is_greedy=sampling.greedy),
        sampling=sampling,
        stopping=stopping,
    )
    return largest_difference(plain, speculative)


def inverted(p, q, token):
    return min(1.0, float(q[token]) / float(p[token]))


def lenient(p, q, token):
    return min(1.0, float(p[token]) / (0.9 * float(q[token])))


def always(p, q, token):
    return 1.0


def softmax_residual(p, q):
    return torch.softmax((p - q).clamp_min(0), -1)


def reversed_residual(p, q):
    left = (q - p).clamp_min(0)
    return left / left.sum() if float(left.sum()) > 0 else p


def forgetful_remainder(p, q, weight):
    left = (p - q).clamp_min(0)
    total = float(left.sum())
    return (weight, left / total) if total else (weight, p)


FAULTS = {
    "ratio inverted": (multi_round, "acceptance_probability", inverted, "rejection", "chain:2"),
    "leniency": (multi_round, "acceptance_probability", lenient, "rejection", "chain:2"),
    "accept everything": (multi_round, "acceptance_probability", always, "rejection", "chain:2"),
    "no residual": (multi_round, "residual", lambda p, q: p, "rejection", "chain:2"),
    "residual of the wrong sign": (
        multi_round, "residual", reversed_residual, "rejection", "chain:2",
    ),
    "softmax of the residual": (multi_round, "residual", softmax_residual, "rejection", "chain:2"),
    "no residual between siblings": (
        multi_round, "residual", lambda p, q: p, "multi-round", "sampled:1x2",
    ),
    "sibling law not renormalised": (
        multi_round, "without", lambda q, token: q, "without-replacement", "distinct:1x2",
    ),
    "block without weights": (block, "remainder", forgetful_remainder, "block", "chain:2"),
    "traversal without weights": (
        traversal, "remainder", forgetful_remainder, "traversal", "chain:2",
    ),
    "traversal, sibling law not renormalised": (
        traversal, "without", lambda q, token: q, "traversal", "distinct:1x2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_rule_shows_on_some_adversarial_table(monkeypatch, fault):
    module, name, wrong, rule, text = FAULTS[fault]
    assert max(difference(table, rule, text) for table in adversarial()) <= 1e-12
    monkeypatch.setattr(module, name, wrong)
    assert max(difference(table, rule, text) for table in adversarial()) > VISIBLE


def test_siblings_drawn_with_replacement_and_judged_as_distinct(monkeypatch):
    def repeated(self, q, randomness):
        return [randomness.categorical(q, Purpose.DRAFT) for _ in range(2)]

    monkeypatch.setattr(sampled_tree.SampledTreeDrafter, "_siblings", repeated)
    with pytest.raises(DraftError, match="must report the one it draws from"):
        difference("sibling-law", "without-replacement", "distinct:1x2")


def test_a_greedy_draft_judged_as_sampled(monkeypatch):
    class Greedy(chain.ChainDrafter):
        def draft(self, sequence, room, law, randomness):
            class Argmax:
                def categorical(self, probabilities, purpose):
                    return int(probabilities.argmax())

            return super().draft(sequence, room, law, Argmax())

    monkeypatch.setattr("draftproof.drafting.ChainDrafter", Greedy)
    assert max(difference(table, "rejection", "chain:2") for table in adversarial()) > VISIBLE


def test_a_token_dropped_after_it_was_drawn(monkeypatch):
    class Dropping(chain.ChainDrafter):
        def draft(self, sequence, room, law, randomness):
            made = super().draft(sequence, room, law, randomness)
            kept = 0
            while (
                kept < len(made.tree)
                and float(made.probabilities[kept, made.tree.token_ids[kept]]) > 0.3
            ):
                kept += 1
            tree = DraftTree(
                token_ids=made.tree.token_ids[:kept],
                parents=made.tree.parents[:kept],
                law=made.tree.law,
            )
            return type(made)(
                tree=tree,
                rows=made.rows[:kept],
                logits=made.logits,
                probabilities=made.probabilities,
            )

    monkeypatch.setattr("draftproof.drafting.ChainDrafter", Dropping)
    assert max(difference(table, "rejection", "chain:2") for table in adversarial()) > VISIBLE


def test_a_draft_drawn_at_another_temperature_than_its_law_says(monkeypatch):
    class Colder(chain.ChainDrafter):
        def draft(self, sequence, room, law, randomness):
            class Cold:
                def categorical(self, probabilities, purpose):
                    return randomness.categorical(probabilities**1.4, purpose)

            return super().draft(sequence, room, law, Cold())

    monkeypatch.setattr("draftproof.drafting.ChainDrafter", Colder)
    assert max(difference(table, "rejection", "chain:2") for table in adversarial()) > VISIBLE


def test_filters_on_one_side_only(monkeypatch):
    """The target's rows unfiltered, where plain decoding filters."""
    right = TokenLaw.distributions

    def unfiltered(self, logits, contexts):
        if len(logits) > 1:
            return torch.softmax(logits, -1)
        return right(self, logits, contexts)

    monkeypatch.setattr(TokenLaw, "distributions", unfiltered)
    sampling = Sampling(temperature=1.0, top_k=2)
    assert difference("no-residual", "rejection", "chain:2", sampling=sampling) > VISIBLE


def test_stop_tokens_seen_at_the_end_of_a_block_only(monkeypatch):
    right = Stopping.cut

    def last_only(self, output, emitted):
        emitted = tuple(emitted)
        if len(emitted) > 1 and any(token in self.stop_token_ids for token in emitted[:-1]):
            inner = Stopping(max_new_tokens=self.max_new_tokens)
            return right(inner, output, emitted)
        return right(self, output, emitted)

    monkeypatch.setattr(Stopping, "cut", last_only)
    assert difference("no-residual", "rejection", "chain:2", length=4) > VISIBLE
