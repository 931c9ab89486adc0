"""Faults of stopping and of penalties: where an output ends, and what a penalty counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float

from draftproof.config import RunConfig
from draftproof.engines.parts import Parts
from draftproof.sampling import Contexts, TokenLaw
from draftproof.selftest.mutant import OWN, FaultClass, Mutant, Plant
from draftproof.selftest.wrapping import verifying_law
from draftproof.stopping import Stopping, StopReason

Laws = Float[torch.Tensor, "rows vocabulary"]
Cut = tuple[tuple[int, ...], StopReason | None]


class LastTokenOnly(Stopping):
    """S01: only the last token of a block is looked at for a stop token."""

    def cut(self, output: Sequence[int], emitted: Iterable[int]) -> Cut:
        tokens = tuple(emitted)
        if any(token in self.stop_token_ids for token in tokens[:-1]):
            return replace(self, stop_token_ids=frozenset()).cut(output, tokens)
        return super().cut(output, tokens)


class CapBeforeStop(Stopping):
    """S02: a block that reaches the length limit is not looked at for a stop token."""

    def cut(self, output: Sequence[int], emitted: Iterable[int]) -> Cut:
        tokens = tuple(emitted)
        room = self.max_new_tokens - len(output)
        if len(tokens) >= room > 1:
            return tokens[:room], StopReason.LENGTH
        return super().cut(output, tokens)


class OverLength(Stopping):
    """S05: the length limit is looked at between blocks only."""

    def cut(self, output: Sequence[int], emitted: Iterable[int]) -> Cut:
        tokens = tuple(emitted)
        free = replace(self, max_new_tokens=1 << 30)
        committed, reason = Stopping.cut(free, output, tokens)
        full = reason is None and len(output) + len(committed) >= self.max_new_tokens
        return committed, StopReason.LENGTH if full else reason


class StringInOneBlock(Stopping):
    """A stop string is looked for in each block by itself."""

    def cut(self, output: Sequence[int], emitted: Iterable[int]) -> Cut:
        tokens = tuple(emitted)
        shorter = replace(self, max_new_tokens=max(1, self.max_new_tokens - len(output)))
        return Stopping.cut(shorter, (), tokens)


class WrongReason(Stopping):
    """A stop token is told as the length limit."""

    def cut(self, output: Sequence[int], emitted: Iterable[int]) -> Cut:
        committed, reason = super().cut(output, emitted)
        return committed, StopReason.LENGTH if reason is StopReason.STOP_TOKEN else reason


class OnceARound(TokenLaw):
    """S08: of a round's tokens only the last enters the penalty."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        if len(logits) == 1:
            return super().distributions(logits, contexts)
        before = [list(context) for context in contexts()]
        root = before[0]
        self.__dict__.setdefault("rounds", []).append(root[-1])
        seen = [*root[: self.prompt_length], *self.__dict__["rounds"]]
        return super().distributions(
            logits, lambda: [seen + context[len(root) :] for context in before]
        )


class BlockStart(TokenLaw):
    """The penalty inside a block is that of its root."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        return super().distributions(logits, lambda: [contexts()[0]] * len(logits))


class RejectedCount(TokenLaw):
    """Tokens that were drafted and rejected enter the penalty."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        if len(logits) == 1:
            return super().distributions(logits, contexts)
        before = [list(context) for context in contexts()]
        drafted = self.__dict__.setdefault("drafted", [])
        earlier = list(drafted)
        drafted += [token for context in before for token in context[len(before[0]) :]]
        return super().distributions(logits, lambda: [earlier + context for context in before])


class LeastFromThePrompt(TokenLaw):
    """The prompt's tokens count towards the least length of an output."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        if len(logits) == 1:
            return super().distributions(logits, contexts)
        return TokenLaw(self.sampling, 0, self.stop_token_ids).distributions(logits, contexts)


def stopping(make: type[Stopping]) -> Plant:
    """A wrong stopping rule with the request's settings."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, stopping=lambda asked: make(**_values(asked)))

    return plant


def _values(asked: Stopping) -> dict[str, Any]:
    return {field.name: getattr(asked, field.name) for field in fields(asked)}


_planted = partial(Mutant, fault_class=FaultClass.STOPPING)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="S01",
        title="a stop token inside a block is not seen",
        source="huggingface/transformers #47912, romsto/Speculative-Decoding 97b82fb",
        plant=stopping(LastTokenOnly),
    ),
    _planted(
        id="S02",
        title="the length limit is looked at before stop tokens",
        source="sgl-project/sglang #31599",
        plant=stopping(CapBeforeStop),
    ),
    _planted(
        id="S05",
        title="an output longer than the limit",
        source="huggingface/transformers PR 46993, feifeibear/LLMSpeculativeSampling",
        plant=stopping(OverLength),
    ),
    _planted(
        id="S08",
        title="only the last token of a round enters the penalty",
        source="sgl-project/sglang PR 33643",
        plant=verifying_law(OnceARound),
        enumerable=False,
    ),
    _planted(
        id="W18",
        title="a stop string over two blocks is not seen",
        source=OWN,
        plant=stopping(StringInOneBlock),
    ),
    _planted(
        id="W19",
        title="a stop token is told as the length limit",
        source=OWN,
        plant=stopping(WrongReason),
    ),
    _planted(
        id="W20",
        title="the penalty inside a block is that of its root",
        source=OWN,
        plant=verifying_law(BlockStart),
    ),
    _planted(
        id="W21",
        title="rejected tokens enter the penalty",
        source=OWN,
        plant=verifying_law(RejectedCount),
        enumerable=False,
    ),
    _planted(
        id="W22",
        title="the prompt counts towards the least length",
        source=OWN,
        plant=verifying_law(LeastFromThePrompt),
    ),
)
"""Every planted fault of stopping and of penalties."""
