"""What users add to every request of a server: grammars, biases, thinking budgets, LoRA names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from draftproof.engines.protocol import Request
from draftproof.errors import UsageError

HARMLESS = frozenset(
    {
        "cache_prompt", "cache_salt", "id_slot", "metadata", "priority", "request_id",
        "safety_identifier", "service_tier", "session_id", "store", "user",
    }
)  # fmt: skip
"""Keys that change no token, so that the judge need not know of them."""

RENDERED = frozenset({"chat_template_kwargs", "tools"})
"""Keys that chat templates are given, and nothing else; the judge renders with them, too."""

_OPTION = "--spec-engine-option"
_PENALTY = 2.0
"""The largest that OpenAI's protocol allows."""
_BAN = -100.0
"""A bias that leaves nothing of a token's probability."""


def read_extra_body(given: str | None, name: str = "extra_body") -> dict[str, Any]:
    """The keys that are added, from JSON text or, after an ``@``, from a file of it.

    Args:
        given: The setting's value.
        name: The setting, for errors.

    Raises:
        UsageError: There is no such file, or what it holds is no JSON object.
    """
    if given is None:
        return {}
    text = given
    if given.startswith("@"):
        try:
            text = Path(given[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{_OPTION} {name}: {given[1:]} cannot be read: {error}") from error
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f"{_OPTION} {name} is not JSON ({error}); give an object such as "
            '{"logit_bias": {"17": -100}}, or @FILE'
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{_OPTION} {name}: give a JSON object, not {text[:40]!r}")
    return values


def with_extras(
    body: Mapping[str, Any], extras: Mapping[str, Any], name: str = "extra_body"
) -> dict[str, Any]:
    """A request's body with the extras in it; objects that both have are merged.

    Args:
        body: What the run's settings ask for.
        extras: What is added.
        name: The setting that adds it, for errors.

    Raises:
        UsageError: A key is one that the run's own settings decide.
    """
    merged = dict(body)
    for key, value in extras.items():
        if key not in body:
            merged[key] = value
        elif isinstance(body[key], Mapping) and isinstance(value, Mapping):
            merged[key] = with_extras(body[key], value, name)
        else:
            raise UsageError(
                f"{_OPTION} {name}: '{key}' is decided by the run's own settings "
                "(--spec-temperature, --spec-max-new-tokens, --spec-stop and others), so that the "
                "judge knows of it; leave it out"
            )
    return merged


def extras_of(request: Request, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a request's body is given: its own extras, or else those of the settings.

    What chat templates are given is part of the prompt, and is not here.

    Args:
        request: Of which `extras` is read.
        settings: ``extra_body`` of the engine.
    """
    own = settings if request.extras is None else json.loads(request.extras or "{}")
    return {key: value for key, value in own.items() if key not in RENDERED}


def penalties_and_bias(token_ids: Sequence[int]) -> dict[str, dict[str, Any]]:
    """What OpenAI's protocol knows, and a judge does not.

    Args:
        token_ids: What the bias is against.
    """
    return {
        "a presence penalty": {"presence_penalty": _PENALTY},
        "a frequency penalty": {"frequency_penalty": _PENALTY},
        "a bias against common tokens": {"logit_bias": dict.fromkeys(map(str, token_ids), _BAN)},
    }


def sglang_penalties(token_ids: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The same of SGLang's ``/generate``, as far as all of its versions know it."""
    return {
        name: {"sampling_params": extras}
        for name, extras in penalties_and_bias(token_ids).items()
        if "logit_bias" not in extras
    }


def llama_server_bias(token_ids: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The same of llama.cpp's server, whose penalties requests state already."""
    return {"a bias against common tokens": {"logit_bias": [[one, _BAN] for one in token_ids]}}


def beyond_judge(extras: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys that may change tokens, and of which the judge's target knows nothing.

    Example:
        >>> beyond_judge({"user": "me", "grammar": "root ::= [a-c]+"})
        ('grammar',)
    """
    return tuple(sorted(extras.keys() - HARMLESS - RENDERED))


def template_arguments(extras: Mapping[str, Any]) -> dict[str, Any]:
    """What chat templates are given of the extras.

    Raises:
        UsageError: ``chat_template_kwargs`` is no object.

    Example:
        >>> template_arguments({"chat_template_kwargs": {"enable_thinking": False}, "user": "me"})
        {'enable_thinking': False}
    """
    arguments = extras.get("chat_template_kwargs", {})
    if not isinstance(arguments, Mapping):
        raise UsageError(f"{_OPTION} extra_body: 'chat_template_kwargs' is no JSON object")
    tools = {"tools": extras["tools"]} if "tools" in extras else {}
    return {**tools, **arguments}
