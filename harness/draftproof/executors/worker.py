"""What an actor does: loads the models once, and measures the cases that it is handed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from draftproof.executors.measured import Measured, error_record, named_error

if TYPE_CHECKING:
    from draftproof.config import RunConfig
    from draftproof.data.prompt import Prompt
    from draftproof.engines.benches import Benches


@dataclass(frozen=True, slots=True)
class Loaded:
    """That an actor is ready, or why it never will be.

    Attributes:
        batch: Prompts that it decodes at once.
        problem: Why the run's settings cannot be used, whoever loads them; else empty.
    """

    batch: int = 1
    problem: str = ""


class CaseWorker:
    """The pair of models and an engine in a process of their own.

    Args:
        config: The run's settings. Models are loaded from where these name them, by every worker
            for itself: no weights are sent.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._benches: Benches | None = None
        self._waiting: list[Prompt] = []

    def load(self) -> Loaded:
        """Load the models of the settings."""
        from draftproof.engines.benches import Benches
        from draftproof.errors import DraftproofError

        self._benches = Benches(self._config, self._after, lambda line: None)
        budget = self._config.budget
        try:
            bench = self._benches.bench_for(budget[0][0] if budget else None)
        except DraftproofError as error:
            return Loaded(problem=str(error))
        return Loaded(batch=bench.batch)

    def run(self, prompts: Sequence[Prompt]) -> Iterator[Measured]:
        """The cases of some prompts of one draft model and tree, each as soon as it is measured.

        They are decoded together, as many at once as the settings ask for. An error ends its case
        alone.
        """
        self._waiting = list(prompts)
        for prompt in prompts:
            yield self._measured(prompt)

    def _measured(self, prompt: Prompt) -> Measured:
        from draftproof.errors import (
            OUT_OF_MEMORY,
            DraftproofError,
            TemplateError,
            error_text,
            is_out_of_memory,
        )

        assert self._benches is not None
        try:
            bench = self._benches.bench_for(prompt.domain)
        except DraftproofError as error:
            return Measured(record=error_record(prompt, named_error(error)), fatal=str(error))
        models = self._benches.described()
        try:
            record = self._benches.measure(prompt).record
        except TemplateError as error:
            return Measured(record=error_record(prompt, named_error(error)), fatal=str(error))
        except Exception as error:  # it ends its case, not the actor
            failure = OUT_OF_MEMORY if is_out_of_memory(error) else error_text(error)
            if not isinstance(error, DraftproofError) and failure is not OUT_OF_MEMORY:
                failure = f"{named_error(error)}\n{traceback.format_exc()}"
            record = error_record(prompt, named_error(error))
            return Measured(record=record, models=models, failure=failure)
        return Measured(
            record=record,
            models=models,
            prompt_tokens=self._benches.tokens_of(prompt, record),
            since_loaded=self._benches.since_loaded,
            advice=bench.rounding_advice,
        )

    def _after(self, prompt_id: str) -> Iterator[Prompt]:
        """The prompts at hand that come after one of them."""
        names = [prompt.prompt_id for prompt in self._waiting]
        if prompt_id in names:
            yield from self._waiting[names.index(prompt_id) + 1 :]
