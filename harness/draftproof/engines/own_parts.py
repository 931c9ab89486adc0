"""An acceptance rule and a drafter of a user's own, as the run's settings name them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypedDict

from draftproof.acceptance import AcceptanceRule, make_rule
from draftproof.config import RunConfig, is_own_part
from draftproof.drafting import Drafter, make_drafter
from draftproof.engines.guarded import raised_at
from draftproof.engines.located import located
from draftproof.errors import DraftproofError, EngineError, UsageError
from draftproof.laws import RULES, default_rule, valid_rules
from draftproof.models.protocol import CausalLM

MakeDrafter = Callable[[CausalLM | None], Drafter]
"""From the draft model, or None where there is none, to a drafter; a drafter's class is one."""


class OwnParts(TypedDict):
    """Parts of the user's own that are given, not named."""

    rule: AcceptanceRule | None
    make_drafter: MakeDrafter | None


_RULE = "--spec-rule"
_DRAFTER = "--spec-drafter"


def rule_of(config: RunConfig, drafter: Drafter | None = None) -> AcceptanceRule:
    """The acceptance rule that the settings name.

    Args:
        config: `rule` is a name, or where one of the user's own is: a class, or any callable that
            returns a rule. ``auto`` is the default for the drafts.
        drafter: One of the user's own, whose drafts it is to judge in place of the tree's. Where it
            has an attribute ``is_chain`` that is true, a rule for chains will do.

    Raises:
        UsageError: There is no such rule, or it is not valid for the drafter's drafts.
        EngineError: Its own code failed.
    """
    is_greedy = config.sampling.greedy
    if is_own_part(config.rule):
        rule = _made(_RULE, config.rule)
        _require(rule, AcceptanceRule, f"{_RULE} {config.rule}", "an acceptance rule", _OF_RULES)
        found: AcceptanceRule = rule
        return found
    if drafter is None:
        return make_rule(config.rule, config.tree, is_greedy=is_greedy)
    is_chain = bool(getattr(drafter, "is_chain", False))
    name = config.rule
    if name == "auto":
        name = default_rule(drafter.law, is_chain=is_chain, is_greedy=is_greedy)
    valid = valid_rules(drafter.law, is_chain=is_chain, is_greedy=is_greedy)
    if name in RULES and name not in valid:
        raise UsageError(
            f"{_RULE} {name}: is not valid for the drafts of {_DRAFTER} {config.drafter} (siblings "
            f"are {drafter.law}{', chains' if is_chain else ''}) at temperature "
            f"{config.sampling.temperature:g}; use one of: auto, {', '.join(valid)}"
        )
    return make_rule(name, config.tree, is_greedy=is_greedy)


def drafter_of(config: RunConfig, model: CausalLM | None) -> Drafter:
    """The drafter that the settings name, or that of their tree.

    Args:
        config: `drafter` says where one of the user's own is: a class, or any callable, that takes
            the draft model and returns a drafter.
        model: The draft model; None where there is none.

    Raises:
        UsageError: There is none, or it is none.
        EngineError: Its own code failed.
    """
    if config.drafter is None:
        return make_drafter(config.tree, model)
    drafter = _made(_DRAFTER, config.drafter, model)
    _require(drafter, Drafter, f"{_DRAFTER} {config.drafter}", "a drafter", _OF_DRAFTERS)
    found: Drafter = drafter
    return found


def place_of(part: object) -> str:
    """Where the class of a part is, as the settings would name it.

    Example:
        >>> from draftproof.acceptance import GreedyRule
        >>> place_of(GreedyRule())
        'draftproof.acceptance.greedy:GreedyRule'
    """
    return f"{type(part).__module__}:{type(part).__qualname__}"


def check_own_parts(config: RunConfig) -> None:
    """Find what is wrong with the places of parts before any model is loaded.

    Raises:
        UsageError: One cannot be imported or called.
    """
    if is_own_part(config.rule):
        _callable(_RULE, config.rule, ())
    if config.drafter is not None:
        _callable(_DRAFTER, config.drafter, (None,))


_OF_RULES = "name and accept; `draftproof.acceptance.AcceptanceRule` says what they are"
_OF_DRAFTERS = "law, start, draft and commit; `draftproof.drafting.Drafter` says what they are"


def _callable(option: str, place: str, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    factory: Callable[..., Any] = located(place, option)
    takes = "the draft model" if arguments else "nothing"
    if not callable(factory):
        raise UsageError(
            f"{option} {place}: cannot be called: it is a {type(factory).__name__}; name a class, "
            f"or a function, that takes {takes}"
        )
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables of C do not tell
        return factory
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise UsageError(
            f"{option} {place}: is called with {takes}, and takes {signature} ({error})"
        ) from error
    return factory


def _made(option: str, place: str, *arguments: Any) -> Any:
    factory = _callable(option, place, arguments)
    try:
        return factory(*arguments)
    except DraftproofError:
        raise
    except (Exception, SystemExit) as error:
        raise EngineError(
            f"{option} {place}: {type(error).__name__}: {error}{raised_at(error, factory)}"
        ) from error


def _require(made: Any, protocol: type, given: str, what: str, needs: str) -> None:
    if not isinstance(made, protocol):
        raise UsageError(f"{given}: a {type(made).__name__} is not {what}; it needs {needs}")
