"""Faults between the rows of one batch: right alone, wrong in a crowd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Int64

from draftproof.batch.hugging_face import HuggingFaceRows
from draftproof.batch.models import BatchLM
from draftproof.config import RunConfig, Sampling
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.rows import MakeRows, RowDecoding, rows_maker
from draftproof.errors import UsageError
from draftproof.laws import default_rule
from draftproof.lossless.state import StepChecker
from draftproof.models.loading import ModelPair
from draftproof.models.protocol import CausalLM
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.stopwatch import Clock

_SHORT = 3
"""Tokens after which the row before the request leaves the batch, and another takes its place."""
_ROWS = 3
_WARMER = 0.7
"""By what a row beside the request is warmer."""


class CrowdedEngine(ReferenceEngine):
    """Decodes every request in the middle of a batch, beside others that are unlike it.

    The row before it ends early and is taken by another request; the one after it has another
    temperature and outlives it. So a row leaves, one is refilled and the batch shrinks while the
    request is decoded.

    Args:
        pair: Target and draft model.
        config: The run's settings.
        of_target: From what makes rows of the target to what is used in its place.
        of_draft: The same for the draft model.
        asked: From the requests of a batch to those that are decoded in their place.
    """

    def __init__(
        self,
        pair: ModelPair,
        config: RunConfig,
        *,
        of_target: Callable[[MakeRows], MakeRows] = lambda make: make,
        of_draft: Callable[[MakeRows], MakeRows] = lambda make: make,
        asked: Callable[[list[Request]], Iterable[Request]] = list,
        observe: Callable[[Generation], None] = lambda generation: None,
    ) -> None:
        super().__init__(pair, config)
        rule = config.rule
        if rule == "auto":
            tree = config.tree
            rule = default_rule(tree.law, is_chain=tree.is_chain, is_greedy=config.sampling.greedy)
        self._crowd = RowDecoding(
            of_target(_maker(pair.target)),
            of_draft(_maker(pair.draft)),
            config.tree,
            rule,
            checker=StepChecker(pair.target, pair.draft, new_drafter=None, share=config.check_state)
            if config.check_state
            else None,
            clock=Clock(),
        )
        self._asked = asked
        self._observe = observe

    def speculate(self, request: Request) -> Generation:
        crowd = self._asked(list(_crowd(request)))
        answers = dict(self._crowd.speculate(crowd, _ROWS))
        self._observe(answers[1])
        return answers[1]


def _maker(model: CausalLM | None) -> MakeRows:
    made = rows_maker(model)
    if made is None:
        raise UsageError("these models cannot be decoded in batches")
    return made


def _crowd(request: Request) -> Iterable[Request]:
    """The request as the second of four, the others unlike it."""
    prompt, stopping, sampling = request.prompt_token_ids, request.stopping, request.sampling

    def beside(name: str, tokens: Sequence[int], limit: int, own: Sampling) -> Request:
        return replace(
            request,
            request_id=f"{request.request_id}/{name}",
            prompt_token_ids=tuple(tokens),
            sampling=own,
            stopping=replace(stopping, max_new_tokens=limit, stop_strings=()),
        )

    # At temperature 0 the rule is greedy, and so is everybody.
    warmer = (
        replace(sampling, repetition_penalty=1.5)
        if sampling.greedy
        else replace(sampling, temperature=sampling.temperature + _WARMER)
    )
    longer = max(2, stopping.max_new_tokens) + _SHORT
    yield beside("short", prompt[: max(1, len(prompt) // 2)], _SHORT, sampling)
    yield request
    yield beside("warmer", (*prompt[-2:], *prompt[:-1]), longer, warmer)
    yield beside("late", prompt[: max(1, len(prompt) // 3)], longer, warmer)


class _Rows:
    """A `BatchLM` that another one does the work of, until a subclass says otherwise."""

    def __init__(self, rows: BatchLM) -> None:
        self.inner = rows
        self._pending = 0
        self.vocabulary_size = rows.vocabulary_size
        self.max_length = rows.max_length

    @property
    def device(self) -> torch.device:
        return self.inner.device

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        self._pending = 0
        return self.inner.start(rows, prompts)

    def score(self, token_ids: torch.Tensor, parents: Any) -> torch.Tensor:
        self._pending += token_ids.shape[1]
        return self.inner.score(token_ids, parents)

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        self._pending = 0
        self.inner.commit(paths)

    def keep(self, rows: Sequence[int]) -> None:
        self.inner.keep(rows)


class KeepsTheFirstRows(_Rows):
    """When a row leaves, the last one is dropped in its place."""

    def keep(self, rows: Sequence[int]) -> None:
        self.inner.keep(range(len(rows)))


class ReadsThePlaceholder(_Rows):
    """A path without a node is −1, and −1 is the last pending node."""

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        last = self._pending - 1
        super().commit([list(path) or [last] * (last >= 0) for path in paths])


class OneLengthForAll(HuggingFaceRows):
    """After a step, every row's cache is taken to be as long as the longest path made it."""

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        super().commit(paths)
        most = max((len(path) for path in paths), default=0)
        grown = zip(self._lengths, paths, strict=True)
        self._lengths = [length + most - len(path) for length, path in grown]


class SeesPads(HuggingFaceRows):
    """Every row sees as many slots as the longest row has filled."""

    def _allowed(
        self,
        n: int,
        span: int,
        lengths: Int64[torch.Tensor, "B 1"],
        positions: Int64[torch.Tensor, "#B n"],
        *,
        same: bool,
    ) -> torch.Tensor | dict[str, torch.Tensor] | None:
        allowed = super()._allowed(n, span, lengths, positions, same=same)
        if same or allowed is None:
            return allowed
        slots = torch.arange(span, device=lengths.device)
        pads = (slots >= lengths + self._pending) & (slots < lengths.max())
        if isinstance(allowed, dict):
            return {name: mask | pads[:, None, None] for name, mask in allowed.items()}
        return allowed | pads[:, None, None]


class PositionsOfTheFirstRow(HuggingFaceRows):
    """All rows stand where the first one stands."""

    def _forward(
        self,
        token_ids: Int64[torch.Tensor, "B n"],
        positions: Int64[torch.Tensor, "B n"],
        mask: torch.Tensor | dict[str, torch.Tensor] | None,
        *,
        last_only: bool = False,
    ) -> torch.Tensor:
        positions = positions[:1].expand(len(positions), -1)
        return super()._forward(token_ids, positions, mask, last_only=last_only)


class RefilledRowIsAsLong(HuggingFaceRows):
    """A row that is refilled is taken to be as long as the one before it, where that was longer."""

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> torch.Tensor:
        before = list(self._lengths)
        logits = super().start(rows, prompts)
        for row in rows:
            if row < len(before):
                self._lengths[row] = max(self._lengths[row], before[row])
        return logits


def _settings_of_the_last(requests: list[Request]) -> list[Request]:
    return [replace(request, sampling=requests[-1].sampling) for request in requests]


def _limit_of_the_last(requests: list[Request]) -> list[Request]:
    return [replace(request, stopping=requests[-1].stopping) for request in requests]


def _wrapped(make: Callable[[BatchLM], BatchLM]) -> Callable[[MakeRows], MakeRows]:
    return lambda rows: lambda: make(rows())


def _instead(kind: type[HuggingFaceRows]) -> Callable[[MakeRows], MakeRows]:
    """Rows of another class, over the same model."""

    def instead(make: MakeRows) -> MakeRows:
        rows = make()
        if not isinstance(rows, HuggingFaceRows):
            raise UsageError("this fault needs two models with one vocabulary")
        return lambda: kind(rows.model, rows.vocabulary_size)

    return instead


_planted = partial(
    Mutant, fault_class=FaultClass.BATCHES, source=OWN, transformer=True, enumerable=False
)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="B01",
        title="rows are misaligned after one of them leaves the batch",
        source="Blaizzy/mlx-vlm #1962 (its batch half)",
        engine=partial(CrowdedEngine, of_target=_wrapped(KeepsTheFirstRows)),
    ),
    _planted(
        id="B02",
        title="the rollback of a batch is that of its longest path",
        engine=partial(CrowdedEngine, of_target=_instead(OneLengthForAll)),
    ),
    _planted(
        id="B03",
        title="a row sees the padding up to the longest row",
        engine=partial(CrowdedEngine, of_target=_instead(SeesPads)),
    ),
    _planted(
        id="B04",
        title="the settings of one row are those of all",
        engine=partial(CrowdedEngine, asked=_settings_of_the_last),
    ),
    _planted(
        id="B05",
        title="the placeholder −1 is read as an index: of an empty path, the last node is kept",
        engine=partial(CrowdedEngine, of_draft=_wrapped(ReadsThePlaceholder)),
        only_acceptance=True,
    ),
    _planted(
        id="B06",
        title="only the target's side of a batch is compacted rightly",
        engine=partial(CrowdedEngine, of_draft=_wrapped(KeepsTheFirstRows)),
        only_acceptance=True,
    ),
    _planted(
        id="B07",
        title="positions are those of the first row",
        engine=partial(CrowdedEngine, of_target=_instead(PositionsOfTheFirstRow)),
    ),
    _planted(
        id="B08",
        title="a refilled row keeps the length of the request before it",
        engine=partial(CrowdedEngine, of_draft=_instead(RefilledRowIsAsLong)),
        only_acceptance=True,
    ),
    _planted(
        id="B09",
        title="the length limit of one row is that of all",
        engine=partial(CrowdedEngine, asked=_limit_of_the_last),
    ),
)
