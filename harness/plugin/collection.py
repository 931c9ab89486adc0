"""One test for each prompt of a suite."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.data import DOMAINS, Prompt, load_prompts
from harness.errors import DraftproofError, UsageError
from harness.plugin.state import PROBLEM, PROMPTS, RUN_CONFIG

MARKER = (
    "suite(domain, prompts=None): the tests of this module run once for each prompt of a domain; \
prompts, a list of texts or of harness.Prompt, makes a suite of your own."
)


def parametrize_cases(metafunc: pytest.Metafunc) -> None:
    """Give a test that takes `case` one case for each prompt of its suite.

    A test outside a suite is left alone: `case` may be a name of its own.
    """
    if "case" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("suite")
    if marker is None:
        return
    prompts: list[Prompt] = []
    try:
        prompts = suite_prompts(metafunc.config, *marker.args, **marker.kwargs)
    except DraftproofError as error:
        # Raised only after collection, where pytest turns it into one line and exit code 4.
        metafunc.config.stash[PROBLEM] = str(error)
    metafunc.parametrize(
        "case", prompts, ids=[prompt.prompt_id for prompt in prompts], indirect=True
    )


def suite_prompts(
    config: pytest.Config, domain: str, prompts: Sequence[str | Prompt] | None = None
) -> list[Prompt]:
    """The prompts of a suite: its own, or the domain's as the run's settings say.

    Raises:
        DataError: They cannot be loaded.
        UsageError: The domain is not known and no prompts are given, or they are not usable.
    """
    if prompts is not None:
        return own_prompts(domain, prompts)
    loaded = config.stash.setdefault(PROMPTS, {})
    if domain not in loaded:
        settings = config.stash[RUN_CONFIG]
        loaded[domain] = load_prompts(
            domain,
            source=settings.prompts,
            data_dir=settings.data_dir,
            limit=settings.limit,
            seed=settings.seed,
        )
    return loaded[domain]


def own_prompts(domain: str, prompts: Sequence[str | Prompt]) -> list[Prompt]:
    """Prompts given in a suite, with ids made for those that are plain texts.

    Raises:
        UsageError: There are none, or two share an id.

    Example:
        >>> own_prompts("sql", ["List all users."])[0].prompt_id
        'sql/0'
    """
    made = [
        prompt
        if isinstance(prompt, Prompt)
        else Prompt(prompt_id=f"{domain}/{index}", domain=domain, text=prompt)
        for index, prompt in enumerate(prompts)
    ]
    if not made:
        raise UsageError(f"the suite '{domain}' has no prompts")
    ids = [prompt.prompt_id for prompt in made]
    for prompt_id in ids:
        if ids.count(prompt_id) > 1:
            raise UsageError(f"the suite '{domain}' has two prompts with the id '{prompt_id}'")
    return made


def check_real_data(config: pytest.Config) -> None:
    """Load every domain's real prompts, so that a problem is found before workers start.

    Raises:
        DataError: One of them cannot be loaded.
    """
    for domain in DOMAINS:
        suite_prompts(config, domain)
