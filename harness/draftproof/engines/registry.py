"""Engines by name: the ones that come with draftproof, registered ones, and any callable."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig
from draftproof.engines.guarded import GuardedEngine, raised_at
from draftproof.engines.names import BUILT_IN, REFERENCE, engine_names, registered, shown_name
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
    check_engine(config, rule=rule)
    name = config.engine
    if name == REFERENCE:
        from draftproof.engines.reference import ReferenceEngine

        return ReferenceEngine(pair, config, rule=rule)
    factory = _factory(name)
    try:
        engine = factory(config, pair)
    except DraftproofError:
        raise
    except Exception as error:
        raise EngineError(
            f"--spec-engine {name}: {type(error).__name__}: {error}{raised_at(error, factory)}"
        ) from error
    if not isinstance(engine, Engine):
        raise EngineError(
            f"--spec-engine {name}: a {type(engine).__name__} is not an engine; it needs name, "
            "capabilities, speculate, plain, describe and close"
        )
    return GuardedEngine(
        engine, config.engine_timeout, pair.stop_token_ids, shown_name(name, engine.name)
    )


def check_engine(config: RunConfig, *, rule: AcceptanceRule | None = None) -> None:
    """Find what is wrong with an engine's name and settings before any model is loaded.

    A factory may have an attribute ``check_settings``, a callable that takes the run's settings and
    raises `UsageError`; as a class method of an engine, it reads what its constructor reads.

    Raises:
        UsageError: There is no such engine, it cannot be imported or called, or its settings are
            not valid.
        EngineError: Its own check failed.
    """
    name = config.engine
    if name == REFERENCE:
        return
    if rule is not None:
        raise UsageError(
            f"--spec-engine {name}: an acceptance rule of yours runs on the reference engine only"
        )
    factory = _factory(name)
    if not callable(factory):
        raise UsageError(
            f"--spec-engine {name}: cannot be called: it is a {type(factory).__name__}; name a "
            "callable that takes the run's settings and the pair of models and returns an engine"
        )
    _require_arguments(name, factory)
    check = getattr(factory, "check_settings", None)
    if check is None:
        return
    try:
        check(config)
    except DraftproofError:
        raise
    except Exception as error:
        raise EngineError(
            f"--spec-engine {name}: {type(error).__name__}: {error}{raised_at(error, factory)}"
        ) from error


def _require_arguments(name: str, factory: EngineFactory) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables of C do not tell
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise UsageError(
            f"--spec-engine {name}: is called with the run's settings and the pair of models, and "
            f"takes {signature} ({error})"
        ) from error


def _factory(name: str) -> EngineFactory:
    if ":" in name:
        return _own(name)
    if name in BUILT_IN:
        return _imported(name, BUILT_IN[name])
    others = registered()
    if name not in others:
        raise unknown_value("--spec-engine", name, engine_names())
    return _imported(name, others[name].value)


def _own(name: str) -> EngineFactory:
    """The factory at ``package.module:callable``, also where its module lies in this folder.

    Installed modules come first, so that no file beside a suite takes the place of a library.
    """
    top_level = name.partition(":")[0].partition(".")[0]
    folder = str(Path.cwd())
    is_known = top_level in sys.modules or not top_level or importlib.util.find_spec(top_level)
    if not is_known and folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    return _imported(name, name)


def _imported(name: str, location: str) -> EngineFactory:
    module, _, attribute = location.partition(":")
    try:
        factory: Any = importlib.import_module(module)
    except Exception as error:
        raise UsageError(_not_imported(name, module, error)) from error
    source = getattr(factory, "__file__", None)
    for part in attribute.strip().split("."):
        if not hasattr(factory, part):
            raise UsageError(
                f"--spec-engine {name}: cannot be imported: module '{module}'"
                + (f" ({source})" if source else "")
                + f" has no '{attribute}'"
            )
        factory = getattr(factory, part)
    made: EngineFactory = factory
    return made


def _not_imported(name: str, module: str, error: Exception) -> str:
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and (module == absent or module.startswith(f"{absent}.")):
        return (
            f"--spec-engine {name}: cannot be imported: there is no module '{absent}', neither "
            f"installed nor in {Path.cwd()}; start in its folder, or install it"
        )
    where = raised_at(error, None)
    return (
        f"--spec-engine {name}: cannot be imported: {module} fails when it is imported: "
        f"{type(error).__name__}: {error}{where}"
    )
