"""The fixtures `case` and `speculation`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from draftproof.plugin.case import Case
from draftproof.plugin.options import given
from draftproof.plugin.state import AGAINST, FINISHED, REPORTER

if TYPE_CHECKING:
    from draftproof.acceptance import AcceptanceRule
    from draftproof.engines.own_parts import MakeDrafter
    from draftproof.plugin.running import Speculation


@pytest.fixture(scope="session")
def acceptance_rule() -> AcceptanceRule | None:
    """The acceptance rule under test; None is the one that ``--spec-rule`` names.

    Override it in a ``conftest.py`` to run the suites on a rule of your own.
    """
    return None


@pytest.fixture(scope="session")
def drafter() -> MakeDrafter | None:
    """Makes the drafter under test; None is the one that ``--spec-tree`` names.

    Override it in a ``conftest.py`` to run the suites on a drafter of your own: return its class,
    or a function, that takes the draft model (None where there is none).
    """
    return None


@pytest.fixture(scope="session")
def speculation(
    pytestconfig: pytest.Config,
    acceptance_rule: AcceptanceRule | None,
    drafter: MakeDrafter | None,
) -> Iterator[Speculation]:
    """Runs cases plainly and speculatively on the models of the run's settings."""
    from draftproof.errors import USAGE_EXIT_CODE, UsageError
    from draftproof.plugin.executing import fleet_maker
    from draftproof.plugin.progress import print_line
    from draftproof.plugin.running import Speculation
    from draftproof.plugin.session import configured

    settings = configured(pytestconfig)
    has_own_parts = acceptance_rule is not None or drafter is not None
    try:
        make_fleet = fleet_maker(pytestconfig, settings, has_own_parts=has_own_parts)
    except UsageError as error:
        pytest.exit(f"draftproof: {error}", returncode=USAGE_EXIT_CODE)
    reporter = pytestconfig.pluginmanager.get_plugin(REPORTER)
    speculation = Speculation(
        settings,
        pytestconfig.stash.get(FINISHED, {}),
        partial(print_line, pytestconfig),
        acceptance_rule,
        pytestconfig.stash.get(AGAINST, None),
        make_drafter=drafter,
        keep_prompts=bool(given(pytestconfig, "spec_keep_prompts")),
        make_fleet=make_fleet,
        arrived=(lambda kept: None) if reporter is None else reporter.take,
    )
    yield speculation
    speculation.close()


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """One prompt of the suite; a test that takes it runs once for each."""
    if not hasattr(request, "param"):
        pytest.fail(
            "the fixture 'case' needs a suite; mark the test or its module, for example with "
            "@pytest.mark.suite('code')",
            pytrace=False,
        )
    return Case(request.param, request.node)
