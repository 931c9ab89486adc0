"""``--spec-executor``: workers elsewhere that measure the cases, in place of this process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from draftproof.config import RunConfig
from draftproof.errors import UsageError, unknown_value
from draftproof.paths import is_file, is_folder
from draftproof.plugin.options import given
from draftproof.plugin.state import AGAINST

if TYPE_CHECKING:
    from draftproof.data.prompt import Prompt
    from draftproof.executors.fleet import Fleet
    from draftproof.executors.measured import Measured
    from draftproof.plugin.running import MakeFleet

RAY = "ray"
_OPTION = "--spec-executor"


def actors_asked(config: pytest.Config) -> int | None:
    """How many actors are asked for; None for as many as there is room for.

    Raises:
        UsageError: The option's value is none.
    """
    name, colon, number = str(given(config, "spec_executor")).partition(":")
    if name != RAY:
        raise unknown_value(_OPTION, name, (RAY, f"{RAY}:N"))
    if not colon:
        return None
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"{_OPTION}: '{number}' is not a number of actors; give for example ray:8")
    return int(number)


def check_executor(config: pytest.Config, settings: RunConfig) -> None:
    """Refuse what actors cannot do, before anything is collected.

    Raises:
        UsageError: An option does not go with actors, or Ray is not installed.
    """
    if given(config, "spec_executor") is None:
        return
    actors_asked(config)
    if hasattr(config, "workerinput") or getattr(config.option, "numprocesses", None):
        raise UsageError(
            f"{_OPTION}: the actors are the workers, and those of pytest-xdist would each start "
            "some of their own; leave out -n"
        )
    refused = {
        "--spec-against": AGAINST in config.stash,
        "--spec-log-draws": settings.draw_log is not None,
        "--spec-concurrency": settings.concurrency > 1,
        "--spec-engine-option metrics=": any(
            name == "metrics" for name, _ in settings.engine_options
        ),
    }
    for option, is_given in refused.items():
        if is_given:
            raise UsageError(
                f"{_OPTION}: {option} is about one process that measures all cases; leave out "
                "one of the two"
            )
    if importlib.util.find_spec("ray") is None:
        raise UsageError(f"{_OPTION} ray: Ray is not installed; pip install 'draftproof[ray]'")


def fleet_maker(
    config: pytest.Config, settings: RunConfig, *, has_own_parts: bool
) -> MakeFleet | None:
    """What makes the workers, where the option asks for them.

    Args:
        config: pytest's.
        settings: The run's.
        has_own_parts: Whether a ``conftest.py`` gives a rule or a drafter of its own.

    Raises:
        UsageError: It does, and they cannot be sent to other processes.
    """
    if given(config, "spec_executor") is None:
        return None
    if has_own_parts:
        raise UsageError(
            f"{_OPTION}: the fixtures acceptance_rule and drafter stay in this process; name the "
            "parts by --spec-rule MODULE:NAME and --spec-drafter MODULE:NAME, of a module that "
            "can be imported on every machine"
        )

    def make(arrived: Callable[[Prompt, Measured], None], report: Callable[[str], None]) -> Fleet:
        from draftproof.executors.fleet import Fleet
        from draftproof.executors.ray_cluster import RayCluster

        sent = with_whole_paths(settings)
        fleet = Fleet(RayCluster(sent, actors_asked(config)), sent, arrived, report)
        report(f"cases are measured by {fleet.described}")
        return fleet

    return make


def with_whole_paths(settings: RunConfig) -> RunConfig:
    """The settings with models named by whole paths: actors run in folders of their own."""
    return replace(
        settings,
        target=_whole(settings.target),
        draft=_whole(settings.draft),
        budget=tuple((domain, _whole(draft), tree) for domain, draft, tree in settings.budget),
    )


def _whole(name: str) -> str:
    return str(Path(name).resolve()) if is_file(name) or is_folder(name) else name
