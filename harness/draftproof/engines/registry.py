"""Engines by name: the ones that come with draftproof, registered ones, and any callable."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig
from draftproof.engines.guarded import GuardedEngine
from draftproof.engines.names import BUILT_IN, engine_names, registered
from draftproof.engines.protocol import Engine
from draftproof.errors import DraftproofError, EngineError, UsageError, unknown_value
from draftproof.models.loading import ModelPair

EngineFactory = Callable[[RunConfig, ModelPair], Engine]
"""Makes an engine from the run's settings and the judge's models.

`RunConfig.engine_options` has the settings of the engine's own, which it must check; the models may
be used (their tokenizer, their weights) or left alone."""


def make_engine(
    pair: ModelPair, config: RunConfig, *, rule: AcceptanceRule | None = None
) -> Engine:
    """The engine that a run's settings name.

    Args:
        pair: The judge's models.
        config: `engine` and `engine_options` are used, and whatever the engine needs.
        rule: An acceptance rule under test; only the reference engine has any use for it.

    Raises:
        UsageError: There is no such engine, or it cannot be made of these settings.
        ModelError: It cannot load its models.
        EngineError: Its own code failed.
    """
    name = config.engine
    if name == "reference":
        from draftproof.engines.reference import ReferenceEngine

        if config.engine_options:
            raise UsageError(
                "--spec-engine-option: the reference engine has no settings of its own"
            )
        return ReferenceEngine(pair, config, rule=rule)
    if rule is not None:
        raise UsageError(
            f"--spec-engine {name}: an acceptance rule of yours runs on the reference engine only"
        )
    factory = _factory(name)
    try:
        engine = factory(config, pair)
    except DraftproofError:
        raise
    except Exception as error:
        raise EngineError(f"--spec-engine {name}: {type(error).__name__}: {error}") from error
    if not isinstance(engine, Engine):
        raise EngineError(
            f"--spec-engine {name}: a {type(engine).__name__} is not an engine; it needs name, "
            "capabilities, speculate, plain, describe and close"
        )
    return GuardedEngine(engine, config.engine_timeout, pair.stop_token_ids)


def _factory(name: str) -> EngineFactory:
    if ":" in name:
        return _imported(name, name)
    if name in BUILT_IN:
        return _imported(name, BUILT_IN[name])
    others = registered()
    if name not in others:
        raise unknown_value("--spec-engine", name, engine_names())
    try:
        factory: EngineFactory = others[name].load()
    except Exception as error:
        raise EngineError(f"--spec-engine {name}: cannot be imported: {error}") from error
    return factory


def _imported(name: str, location: str) -> EngineFactory:
    module, _, attribute = location.partition(":")
    try:
        factory: Any = importlib.import_module(module)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--spec-engine {name}: cannot be imported: {error}") from error
    made: EngineFactory = factory
    return made
