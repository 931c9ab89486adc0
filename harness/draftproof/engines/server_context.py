"""How many tokens a server attends to, where it says so.

Sources: vLLM's and SGLang's model cards under ``/v1/models`` (``max_model_len``), and the
``default_generation_settings`` of llama.cpp's server under ``/props`` (``n_ctx``, of one slot).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from draftproof.errors import EngineError


def told_context(get: Callable[[str], str]) -> int | None:
    """The most tokens of a prompt and its output; None where the server does not say.

    Args:
        get: From a path to the server's answer.
    """
    found = [*_of_models(_answered(get, "/v1/models")), *_of_slots(_answered(get, "/props"))]
    return min(found, default=None)


def _answered(get: Callable[[str], str], path: str) -> Any:
    try:
        return json.loads(get(path))
    except (EngineError, ValueError, RecursionError):
        return None


def _of_models(answer: Any) -> list[int]:
    models = answer.get("data") if isinstance(answer, dict) else None
    found = models if isinstance(models, list) else []
    lengths: list[Any] = [m.get("max_model_len") for m in found if isinstance(m, dict)]
    return [length for length in lengths if _is_length(length)]


def _of_slots(answer: Any) -> list[int]:
    settings = answer.get("default_generation_settings") if isinstance(answer, dict) else None
    length: Any = settings.get("n_ctx") if isinstance(settings, dict) else None
    return [length] if _is_length(length) else []


def _is_length(value: Any) -> bool:
    return type(value) is int and value > 0
