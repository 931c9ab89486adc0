"""Engines by name: the ones that come with draftproof, registered ones, and any callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace

from draftproof.acceptance import AcceptanceRule
from draftproof.config import RunConfig, is_own_part
from draftproof.engines.guarded import GuardedEngine, raised_at
from draftproof.engines.located import imported, located
from draftproof.engines.names import BUILT_IN, REFERENCE, engine_names, registered, shown_name
from draftproof.engines.own_parts import MakeDrafter, check_own_parts
from draftproof.engines.protocol import Engine
from draftproof.errors import DraftproofError, EngineError, UsageError, unknown_value
from draftproof.models.loading import ModelPair

EngineFactory = Callable[[RunConfig, ModelPair], Engine]
"""Makes an engine from the run's settings and the judge's models.

`RunConfig.engine_options` has the settings of the engine's own, which it must check; the models may
be used (their tokenizer, their weights) or left alone."""


def make_engine(
    pair: ModelPair,
    config: RunConfig,
    *,
    rule: AcceptanceRule | None = None,
    make_drafter: MakeDrafter | None = None,
) -> Engine:
    """The engine that a run's settings name.

    Args:
        pair: The judge's models.
        config: `engine` and `engine_options` are used, and whatever the engine needs.
        rule: An acceptance rule under test; only the reference engine has any use for it.
        make_drafter: Makes a drafter under test from the draft model; likewise.

    Raises:
        UsageError: There is no such engine, or it cannot be made of these settings.
        ModelError: It cannot load its models.
        EngineError: Its own code failed.
    """
    check_engine(config, rule=rule, make_drafter=make_drafter)
    name = config.engine
    if name == REFERENCE:
        from draftproof.engines.reference import ReferenceEngine

        drafter = None if make_drafter is None else make_drafter(pair.draft)
        return ReferenceEngine(pair, config, rule=rule, drafter=drafter)
    factory = _factory(name)
    try:
        engine = factory(config, pair)
    except DraftproofError:
        raise
    except (Exception, SystemExit) as error:
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


def judging_pair(pair: ModelPair, config: RunConfig) -> ModelPair:
    """The judge's models, which render chat templates with what the engine's settings state.

    A factory may have an attribute ``template_arguments``, a callable that takes the run's settings
    and returns what else the chat template is given.

    Raises:
        UsageError: The engine's settings are not valid.
    """
    if config.engine == REFERENCE:
        return pair
    stated = getattr(_factory(config.engine), "template_arguments", None)
    return replace(pair, template_arguments=stated(config)) if callable(stated) else pair


def checks_settings(name: str) -> bool:
    """Whether an engine looks at its settings before any model is loaded."""
    return name == REFERENCE or hasattr(_factory(name), "check_settings")


def check_engine(
    config: RunConfig,
    *,
    rule: AcceptanceRule | None = None,
    make_drafter: MakeDrafter | None = None,
) -> None:
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
        check_own_parts(config)
        return
    for part, is_own in (
        ("an acceptance rule", rule is not None or is_own_part(config.rule)),
        ("a drafter", make_drafter is not None or config.drafter is not None),
    ):
        if is_own:
            raise UsageError(
                f"--spec-engine {name}: {part} of yours runs on the reference engine only"
            )
    factory = _factory(name)
    if not callable(factory):
        raise UsageError(
            f"--spec-engine {name}: cannot be called: it is a {type(factory).__name__}; name a "
            "callable that takes the run's settings and the pair of models and returns an engine"
        )
    _require_arguments(name, factory)
    is_single = isinstance(factory, type) and not hasattr(factory, "generate")
    if is_single and (config.batch != 1 or config.concurrency > 1):
        asked = "--spec-concurrency" if config.concurrency > 1 else "--spec-batch"
        raise UsageError(f"{asked}: {name} decodes one request at a time; leave {asked} out")
    check = getattr(factory, "check_settings", None)
    if check is None:
        return
    try:
        check(config)
    except DraftproofError:
        raise
    except (Exception, SystemExit) as error:
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
        own: EngineFactory = located(name, "--spec-engine")
        return own
    if name in BUILT_IN:
        place = BUILT_IN[name]
    else:
        others = registered()
        if name not in others:
            raise unknown_value("--spec-engine", name, engine_names())
        place = others[name].value
    factory: EngineFactory = imported(place, f"--spec-engine {name}")
    return factory
