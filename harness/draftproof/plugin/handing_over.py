"""Prompts from the controller of pytest-xdist, which read them, to its workers, which need not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from draftproof.data.load import LoadedRecords
from draftproof.data.prompt import Prompt
from draftproof.data.record import Record
from draftproof.plugin.state import PROMPTS

_KEY = "draftproof_prompts"
"""What a worker is told before it collects, under a name of ours."""

_HANDED = pytest.StashKey[dict[str, Any]]()
"""The same, as values."""


class HandsOverPrompts:
    """Gives each worker of pytest-xdist the prompts that its controller has loaded."""

    def __init__(self) -> None:
        self._text: str | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        loaded = node.config.stash.get(PROMPTS, {})
        if self._text is None:
            self._text = json.dumps(
                {
                    domain: {
                        "prompts": [dataclasses.asdict(record.prompt) for record in each.records],
                        "available": each.available,
                    }
                    for domain, each in loaded.items()
                }
            )
        node.workerinput[_KEY] = self._text


def handed_over(config: pytest.Config, domain: str) -> LoadedRecords | None:
    """A domain's prompts as the controller of this worker has them; None where it has none.

    Rows and origins stay there: what is made of them is made there.
    """
    text = getattr(config, "workerinput", {}).get(_KEY)
    if text is None:
        return None
    if _HANDED not in config.stash:
        config.stash[_HANDED] = json.loads(text)
    found = config.stash[_HANDED].get(domain)
    if found is None:
        return None
    return LoadedRecords(
        records=tuple(Record(prompt=_prompt(each), row={}) for each in found["prompts"]),
        origins=(),
        duplicates={},
        available=found["available"],
    )


def _prompt(fields: dict[str, Any]) -> Prompt:
    lists = {name: tuple(fields[name]) for name in ("earlier", "token_ids")}
    return Prompt(**{**fields, **lists})
