"""One test for each prompt of a suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from draftproof.config import RunConfig
from draftproof.data import DOMAINS, OTHER, Prompt, PromptSource, prompts_fingerprint
from draftproof.data.load import PromptLoader
from draftproof.data.prompt import domain_problem
from draftproof.data.sample import sample_indices
from draftproof.errors import DraftproofError, UsageError
from draftproof.plugin.handing_over import handed_over
from draftproof.plugin.options import given
from draftproof.plugin.state import LOADER, OWN_PROMPTS, PROBLEM, PROMPTS, RUN_CONFIG
from draftproof.plugin.wholeness import note_given
from draftproof.prompt_sources import parse_columns


def parametrize_cases(metafunc: pytest.Metafunc) -> None:
    """Give a test of a suite one case for each of its prompts."""
    marker = metafunc.definition.get_closest_marker("suite")
    prompts: list[Prompt] = []
    try:
        prompts = suite_prompts(metafunc.config, *_marked(marker))
    except DraftproofError as error:
        # Raised only after collection, where pytest turns it into one line and exit code 4.
        metafunc.config.stash[PROBLEM] = str(error)
    if not prompts:
        # Not an empty list, of which pytest would make a skipped test.
        metafunc.parametrize("case", [None], ids=["no prompts"], indirect=True)
        return
    note_given(metafunc, prompts)
    metafunc.parametrize(
        "case", prompts, ids=[prompt.prompt_id for prompt in prompts], indirect=True
    )


def _marked(marker: pytest.Mark | None) -> tuple[str, Sequence[str | Prompt] | None]:
    """The domain of a suite, and its own prompts, as its mark says.

    Raises:
        UsageError: The mark is not one of ours.
    """
    args, kwargs = (marker.args, dict(marker.kwargs)) if marker is not None else ((), {})
    named = dict(zip(("domain", "prompts"), args, strict=False)) | kwargs
    domain, prompts = named.pop("domain", None), named.pop("prompts", None)
    if named or len(args) > 2 or not isinstance(domain, str):
        shown = ", ".join([*map(repr, args), *(f"{key}={kwargs[key]!r}" for key in kwargs)])
        raise UsageError(
            f"@pytest.mark.suite({shown}): a test that takes draftproof's `case` needs the name of "
            "its domain, as in suite('code'), and perhaps prompts=[...]; for a mark or a `case` of "
            "your own, define that fixture in a conftest.py"
        )
    return domain.strip(), prompts


def suite_prompts(
    config: pytest.Config, domain: str, prompts: Sequence[str | Prompt] | None = None
) -> list[Prompt]:
    """The prompts of a suite: its own, or the domain's as the run's settings say.

    Of a suite's own prompts all are taken, unless ``--spec-limit`` is given: its default is for
    data sets.

    Raises:
        DataError: They cannot be loaded.
        UsageError: The domain is not known and no prompts are given, or they are not usable.
    """
    if prompts is not None:
        own = own_prompts(domain, prompts)
        noted = config.stash.setdefault(OWN_PROMPTS, {})
        every = [*noted.get(domain, ()), *own]
        # By what tells prompts apart: one's own may hold lists, which have no hash.
        noted[domain] = list({(each.prompt_id, each.text): each for each in every}.values())
        return _limited(config, own, own_limit(config))
    loaded = config.stash.setdefault(PROMPTS, {})
    if domain not in loaded:
        loaded[domain] = handed_over(config, domain) or _loader(config).domain(domain)
    return [record.prompt for record in loaded[domain].records]


def _loader(config: pytest.Config) -> PromptLoader:
    if LOADER not in config.stash:
        config.stash[LOADER] = PromptLoader(prompt_source(config.stash[RUN_CONFIG]))
    return config.stash[LOADER]


def own_limit(config: pytest.Config) -> int | None:
    """How many of its own prompts a suite runs on; None for all."""
    return None if given(config, "spec_limit") is None else config.stash[RUN_CONFIG].limit


def _limited(config: pytest.Config, prompts: list[Prompt], limit: int | None) -> list[Prompt]:
    ids = [prompt.prompt_id for prompt in prompts]
    chosen = sample_indices(ids, limit=limit, seed=config.stash[RUN_CONFIG].seed)
    return [prompts[index] for index in sorted(chosen)]


def prompt_source(settings: RunConfig) -> PromptSource:
    """Which prompts the run's settings ask for."""
    return PromptSource(
        prompts=settings.prompts,
        data_dir=settings.data_dir,
        own_file=settings.jsonl,
        columns=None if settings.columns is None else parse_columns(settings.columns),
        limit=settings.limit,
        seed=settings.seed,
        turns=settings.turns,
    )


def described_prompts(config: pytest.Config) -> dict[str, Any]:
    """What the session's suites were given, by domain, for the report and the journal.

    Returns:
        For each domain: ``prompts``, how many; ``available``, how many there would be without a
        limit; ``sha256`` of their ids, texts and answers; ``origins``, a table each, none for
        prompts that a suite lists itself; ``duplicates``, by data set, where there are any.
    """
    own = {
        domain: {
            "prompts": len(chosen := _limited(config, prompts, own_limit(config))),
            "available": len(prompts),
            "sha256": prompts_fingerprint(chosen),
            "origins": [],
        }
        for domain, prompts in config.stash.get(OWN_PROMPTS, {}).items()
    }
    return own | {
        domain: {
            "prompts": len(loaded.records),
            "available": loaded.available,
            "sha256": prompts_fingerprint(record.prompt for record in loaded.records),
            "origins": [origin.to_json() for origin in loaded.origins],
            **({"duplicates": dict(loaded.duplicates)} if loaded.duplicates else {}),
        }
        for domain, loaded in config.stash.get(PROMPTS, {}).items()
        if loaded.records
    }


def sampled_prompts(config: pytest.Config, domain: str, limit: int | None) -> tuple[str, ...]:
    """The sha256, as in `described_prompts`, that the prompts of a domain have with a limit.

    Of prompts that a suite lists itself there may be two, since a run does not tell whether its
    limit was given or the default, which leaves none of them out.
    """
    settings = config.stash[RUN_CONFIG]
    loaded = config.stash.get(PROMPTS, {}).get(domain)
    if loaded is None:
        own = config.stash[OWN_PROMPTS][domain]
        return prompts_fingerprint(own), prompts_fingerprint(_limited(config, own, limit))
    if limit != settings.limit:
        loaded = _loader(config).with_limit(limit).domain(domain)
    return (prompts_fingerprint(record.prompt for record in loaded.records),)


def drop_suites_without_prompts(items: list[pytest.Item]) -> int:
    """Take the tests of suites without a prompt out of a list; returns how many there were."""
    before = len(items)
    items[:] = [item for item in items if not _has_no_prompt(item)]
    return before - len(items)


def _has_no_prompt(item: pytest.Item) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    return params.get("case", "") is None


def no_prompts(config: pytest.Config) -> str:
    """What to say where suites were collected, and none of them has a prompt."""
    return (
        f"--spec-prompts {config.stash[RUN_CONFIG].prompts}: none of these data sets has a prompt "
        "for the suites that were collected; run 'suites/', or add a data set of their domain"
    )


def own_prompts(domain: str, prompts: Sequence[str | Prompt]) -> list[Prompt]:
    """Prompts given in a suite, with ids made for those that are plain texts.

    Raises:
        UsageError: There are none, two share an id, or one's domain cannot be called so.

    Example:
        >>> own_prompts("sql", ["List all users."])[0].prompt_id
        'sql/0'
    """
    domain = domain.strip()
    made = [
        replace(prompt, domain=prompt.domain.strip())
        if isinstance(prompt, Prompt)
        else Prompt(prompt_id=f"{domain}/{index}", domain=domain, text=prompt)
        for index, prompt in enumerate(prompts)
    ]
    if not made:
        raise UsageError(f"the suite '{domain}' has no prompts")
    for prompt_id, count in Counter(prompt.prompt_id for prompt in made).items():
        if count > 1:
            raise UsageError(f"the suite '{domain}' has two prompts with the id '{prompt_id}'")
    for name in {domain, *(prompt.domain for prompt in made)}:
        if problem := domain_problem(name):
            raise UsageError(f"the suite '{domain}': {problem}")
    return made


def check_real_data(config: pytest.Config) -> None:
    """Load every domain's real prompts, so that a problem is found before workers start.

    Raises:
        DataError: One of them cannot be loaded.
    """
    for domain in (*DOMAINS, OTHER):
        suite_prompts(config, domain)
