"""What is enumerated of a subject: small tables, settings and ends, for every shape and rule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from draftproof.acceptance import AcceptanceRule
from draftproof.config import Sampling
from draftproof.conformance.subject import Subject
from draftproof.engines.own_parts import place_of
from draftproof.laws import RULES, ProposalLaw, valid_rules
from draftproof.lossless.stated_law import Weights
from draftproof.lossless.tables import Row, adversarial, pair_from
from draftproof.shapes import NO_TREE, TreeShape
from draftproof.stopping import Stopping

PROMPTS = ((0, 1, 0), (0, 1))
"""Of either parity: the tables of small models are rolled by the last token at odd lengths alone,
so that a draft model that has not seen it is told by one of the two."""
_SETTINGS = (
    Sampling(temperature=1.0),
    Sampling(temperature=0.6, top_k=2),
    Sampling(temperature=1.5, top_p=0.95, min_new_tokens=2),
    Sampling(temperature=1.0, min_p=0.3, repetition_penalty=1.8),
    Sampling(),
    Sampling(repetition_penalty=3.0, min_new_tokens=2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is enumerated: a shape, a rule, settings and ends, on two tables.

    Attributes:
        shape: Of the drafts.
        rule: Its name.
        sampling: The settings.
        stopping: Where outputs end.
        table: Name of the tables.
        rows: Target's and draft model's distribution, which contexts turn.
        prompt: Its token ids.
        place: Where the rule of the user's own is, as MODULE:NAME; empty if it is not one.
        drafter: Where a drafter of the user's own is, which proposes in place of the shape.
    """

    shape: TreeShape
    rule: str
    sampling: Sampling
    stopping: Stopping
    table: str
    rows: tuple[Row, Row]
    drafter: str | None = None
    prompt: tuple[int, ...] = PROMPTS[0]
    place: str = ""

    def __str__(self) -> str:
        settings = ", ".join(
            f"{name} {getattr(self.sampling, name):g}"
            for name in Sampling.__dataclass_fields__
            if getattr(self.sampling, name) != getattr(Sampling(), name)
        )
        ends = f"at most {self.stopping.max_new_tokens} tokens"
        if self.stopping.stop_token_ids:
            ends += f", stop token {sorted(self.stopping.stop_token_ids)}"
        if self.stopping.stop_strings:
            ends += f", stop strings {list(self.stopping.stop_strings)}"
        drafts, rule = self.drafter or self.shape, self.place or self.rule
        return (
            f"{drafts} with the rule {rule}; {settings or 'temperature 0'}; {ends}; "
            f"prompt {list(self.prompt)}; table '{self.table}': "
            f"p = {self.rows[0].tolist()}, q = {self.rows[1].tolist()}"
        )


def cases_of(
    shapes: list[TreeShape],
    rule: AcceptanceRule | None,
    *,
    place: str = "",
    every_rule: bool = True,
    is_batch: bool = False,
) -> Iterator[Case]:
    """Shapes with their rules under every setting; tables and ends take turns.

    Args:
        shapes: Of the drafts.
        rule: One under test above temperature 0; None for all that are lossless.
        place: Where that one is, as MODULE:NAME.
        every_rule: Whether each rule is taken, or the first that is valid.
        is_batch: Whether the cases are decoded in a batch, which takes longer.
    """
    count = 0
    for shape in shapes:
        for sampling in _SETTINGS:
            names = valid_rules(shape.law, is_chain=shape.is_chain, is_greedy=sampling.greedy)
            rules = [name for name in names if RULES[name].lossless]
            if sampling.greedy:
                rules = ["greedy"]
            elif rule is not None:
                rules = [rule.name] if rule.name in rules or rule.name not in RULES else []
            for name in rules if every_rule else rules[:1]:
                is_large = shape.most_nodes > (1 if is_batch else 3)
                is_drawn = shape.law is not ProposalLaw.DETERMINISTIC
                named = tables(2 if is_large and (is_drawn or is_batch) else 3)
                table, rows = named[count % len(named) if sampling != _SETTINGS[0] else 0]
                yield Case(
                    shape=shape,
                    rule=name,
                    sampling=sampling,
                    stopping=_stopping(count, rows, sampling, is_batch),
                    table=table,
                    rows=rows,
                    place="" if sampling.greedy else place,
                )
                count += 1


def own_cases(subject: Subject) -> list[Case]:
    """Every setting on every table, for a drafter of the user's own; none if there is none."""
    config = subject.config
    if config.drafter is None:
        return []
    settings = itertools.product(_SETTINGS, tables(3))
    return [
        Case(
            shape=config.tree,
            drafter=config.drafter,
            rule="greedy" if sampling.greedy else config.rule,
            place=place_of(subject.rule) if subject.rule and not sampling.greedy else "",
            sampling=sampling,
            stopping=_stopping(count, rows, sampling, False),
            table=table,
            rows=rows,
        )
        for count, (sampling, (table, rows)) in enumerate(settings)
    ]


def plain_cases() -> Iterator[Case]:
    """Plain decoding under every setting."""
    for count, sampling in enumerate(_SETTINGS):
        table, rows = tables(3)[count % 3]
        yield Case(
            shape=NO_TREE,
            rule="none",
            sampling=sampling,
            stopping=_stopping(count, rows, sampling, False),
            table=table,
            rows=rows,
        )


def tables(size: int) -> list[tuple[str, tuple[Row, Row]]]:
    """Target's and draft model's distributions over 2 or 3 ids, by name."""
    two = torch.tensor([0.7, 0.3]).double(), torch.tensor([0.4, 0.6]).double()
    tied = torch.tensor([0.4, 0.4, 0.2]).double(), torch.tensor([0.3, 0.5, 0.2]).double()
    sure = torch.tensor([0.6, 0.0, 0.4]).double(), torch.tensor([0.0, 0.5, 0.5]).double()
    if size == 2:
        return [("two ids", two)]
    # After a rejection two ids are left here, and one on many others: there a residual of any
    # shape is the same.
    left = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.1, 0.7]).double()
    named = {"two ids left": left, "impossible tokens": sure, "ties": tied, **adversarial()}
    return list(named.items())


def _stopping(count: int, rows: tuple[Row, Row], sampling: Sampling, is_batch: bool) -> Stopping:
    """Ends that lie inside blocks: a token, several, a text, none but the limit."""
    most = 3 if is_batch else 4
    last = len(rows[0]) - 1
    several = frozenset(range(1, last + 1))
    if sampling.min_new_tokens and not bool((rows[0] * rows[1]).all()):
        several = frozenset({last})  # where they are held back, another token must be possible
    none: frozenset[int] = frozenset()
    stops = (frozenset({last}), none, several, frozenset({1}))
    strings = ((), ("ba", "bb"), (), ("ab",))
    return Stopping(
        max_new_tokens=most,
        stop_token_ids=stops[count % 4],
        stop_strings=strings[count % 4],
        decode=text_of,
    )


def text_of(tokens: Sequence[int]) -> str:
    """A letter an id."""
    return "".join("abcdefgh"[token] for token in tokens)


def weights_of(row: Row) -> Weights:
    """A table's probabilities by context, worked out once each."""
    model, _ = pair_from(row, row)

    @cache
    def weights(context: tuple[int, ...]) -> list[float]:
        return torch.exp(model.recompute(context, len(context) - 1)[0]).tolist()

    return weights
