"""Prompts of a domain by source, limit and seed: what the suites call."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from draftproof.data.builtin import builtin_records
from draftproof.data.origin import Origin
from draftproof.data.own import own_records
from draftproof.data.prompt import DOMAINS, Prompt, turn_id
from draftproof.data.real import real_records
from draftproof.data.record import Record
from draftproof.data.rows import domain_of
from draftproof.data.sample import check_limit, sample_indices
from draftproof.data.specs import DATASETS
from draftproof.errors import UsageError, unknown_value
from draftproof.prompt_sources import BUILTIN_PROMPTS, OWN_PROMPTS, Choice, parse_prompts

OTHER = "other"
"""Stands for every domain that is none of `DOMAINS`: those of Spec-Bench, SPEED-Bench and one's
own file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSource:
    """Which prompts a run is given.

    Attributes:
        prompts: As ``--spec-prompts`` gives them (`draftproof.prompt_sources.parse_prompts`).
        data_dir: A folder with the authors' files (`draftproof.data.real.local_layout`); None loads
            public data sets from the hub.
        own_file: The file behind ``own``.
        columns: What its columns hold (`draftproof.data.own.own_records`).
        limit: Prompts a domain; None, or more than there are, takes all. A sample for a limit N is
            part of the sample for N + 1 (see `draftproof.data.sample`). Conversations count once.
        seed: Decides which prompts a limit chooses.
        turns: How many turns of a conversation are asked, each a prompt of its own.
    """

    prompts: str = BUILTIN_PROMPTS
    data_dir: str | os.PathLike[str] | None = None
    own_file: str | os.PathLike[str] | None = None
    columns: Mapping[str, str] | None = None
    limit: int | None = None
    seed: int = 0
    turns: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRecords:
    """The prompts of a domain, and where they came from.

    Attributes:
        records: In the order of the data sets.
        origins: A table each.
        duplicates: How many prompts were left out because an earlier data set of the run has the
            same text, by data set.
        available: How many there would be without a limit.
    """

    records: tuple[Record, ...]
    origins: tuple[Origin, ...]
    duplicates: Mapping[str, int]
    available: int


def load_prompts(
    domain: str,
    *,
    source: str = BUILTIN_PROMPTS,
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Prompt]:
    """The prompts of a domain, in the order of the data set.

    Args:
        domain: ``code``, ``math``, ``logic`` or ``chat``, or `OTHER`.
        source: As ``--spec-prompts`` takes it.
        data_dir: See `PromptSource`.
        limit: See `PromptSource`.
        seed: See `PromptSource`.

    Returns:
        No text is blank, and all ids differ; none where no data set has prompts of the domain.

    Raises:
        UsageError: An unknown domain or source, a limit below 1, or a data folder given for
            the built-in prompts.
        DataError: The data is missing, unreachable, corrupt, empty or not laid out as expected.
    """
    records = load_records(domain, source=source, data_dir=data_dir, limit=limit, seed=seed)
    return [record.prompt for record in records]


def load_records(
    domain: str,
    *,
    source: str = BUILTIN_PROMPTS,
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Record]:
    """The prompts of `load_prompts`, each with its whole row.

    Args:
        domain: As for `load_prompts`.
        source: As for `load_prompts`.
        data_dir: As for `load_prompts`.
        limit: As for `load_prompts`.
        seed: As for `load_prompts`.

    Raises:
        UsageError: As for `load_prompts`.
        DataError: As for `load_prompts`.
    """
    wanted = PromptSource(prompts=source, data_dir=data_dir, limit=limit, seed=seed)
    return list(load_domain(domain, wanted).records)


def load_domain(domain: str, source: PromptSource) -> LoadedRecords:
    """The prompts of one domain, and where they came from, as `PromptLoader` loads them.

    Args:
        domain: One of `DOMAINS`, or `OTHER` for all others.
        source: Which data sets, and how many prompts of them.

    Raises:
        UsageError: As for `load_prompts`.
        DataError: As for `load_prompts`.
    """
    return PromptLoader(source).domain(domain)


class PromptLoader:
    """The prompts of several domains of one source; each file and data set is read once.

    A text that two data sets share is asked once, for the one that is named first: Spec-Bench holds
    all of MT-Bench and 80 problems of GSM8K.

    Args:
        source: Which data sets, and how many prompts of them.
    """

    def __init__(self, source: PromptSource) -> None:
        self._source = source
        self._read: dict[Choice, tuple[list[Record], list[Origin]]] = {}

    def with_limit(self, limit: int | None) -> PromptLoader:
        """The same data with another limit; what was read is not read again."""
        other = PromptLoader(replace(self._source, limit=limit))
        other._read = self._read
        return other

    def domain(self, domain: str) -> LoadedRecords:
        """The prompts of a domain, and where they came from.

        Args:
            domain: One of `DOMAINS`, or `OTHER` for all others.

        Raises:
            UsageError: As for `load_prompts`.
            DataError: As for `load_prompts`.
        """
        if domain not in (*DOMAINS, OTHER):
            raise unknown_value("domain", domain, (*DOMAINS, OTHER))
        source = self._source
        choices = parse_prompts(source.prompts)
        data_dir = _data_folder(source, choices)
        check_limit(source.limit)
        pool: list[Record] = []
        origins: list[Origin] = []
        duplicates: dict[str, int] = {}
        for choice in choices:
            if not _may_have(domain, choice):
                continue
            found, places = self._records(domain, choice, data_dir)
            wanted = [record for record in found if _belongs(record.prompt.domain, domain)]
            new = _without_texts_of(pool, wanted)
            if len(new) < len(wanted):
                duplicates[choice.name] = len(wanted) - len(new)
            pool += new
            origins += places if new else ()
        return LoadedRecords(
            records=tuple(_asked(_sampled(pool, source), source.turns)),
            origins=tuple(origins),
            duplicates=duplicates,
            available=sum(1 for _ in _asked(pool, source.turns)),
        )

    def _records(
        self, domain: str, choice: Choice, data_dir: Path | None
    ) -> tuple[list[Record], list[Origin]]:
        """Every record of a data set, whatever its domain, and where they came from."""
        if choice.name == BUILTIN_PROMPTS:
            return builtin_records(domain), []
        if choice not in self._read:
            is_own = choice.name == OWN_PROMPTS
            self._read[choice] = _own(self._source) if is_own else real_records(choice, data_dir)
        return self._read[choice]


def _data_folder(source: PromptSource, choices: tuple[Choice, ...]) -> Path | None:
    if source.data_dir is None:
        return None
    if not any(choice.name in DATASETS for choice in choices):
        raise UsageError(
            f"data_dir: {os.fspath(source.data_dir)} was given, but '{source.prompts}' prompts are "
            "not read from a folder; name a public data set, or give no folder"
        )
    return Path(source.data_dir).expanduser()


def _domains(choice: Choice) -> tuple[str, ...]:
    if choice.name == BUILTIN_PROMPTS:
        return DOMAINS
    spec = DATASETS[choice.name]
    if spec.part_of is None or not choice.parts:
        return spec.domains
    return tuple(domain_of(part) for part in choice.parts)


def _may_have(domain: str, choice: Choice) -> bool:
    if choice.name == OWN_PROMPTS:
        return True
    return any(_belongs(name, domain) for name in _domains(choice))


def _belongs(name: str, domain: str) -> bool:
    return name == domain if domain != OTHER else name not in DOMAINS


def _own(source: PromptSource) -> tuple[list[Record], list[Origin]]:
    if source.own_file is None:
        raise UsageError("--spec-prompts own: needs --spec-jsonl FILE")
    path = Path(source.own_file).expanduser()
    records = own_records(path, source.columns or {})
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return records, [Origin(dataset=OWN_PROMPTS, place=str(path), sha256=digest.hexdigest())]


def _without_texts_of(pool: Iterable[Record], records: list[Record]) -> list[Record]:
    """The records whose text no record of an earlier data set has."""
    texts = {record.prompt.text for record in pool}
    return [record for record in records if record.prompt.text not in texts]


def _sampled(pool: list[Record], source: PromptSource) -> list[Record]:
    """As many of each domain as the limit says, in the order of the pool."""
    ids = [record.prompt.prompt_id for record in pool]
    chosen: set[str] = set()
    for domain in {record.prompt.domain for record in pool}:
        own = [record.prompt.prompt_id for record in pool if record.prompt.domain == domain]
        positions = sample_indices(own, limit=source.limit, seed=source.seed)
        chosen.update(own[position] for position in positions)
    return [pool[position] for position, prompt_id in enumerate(ids) if prompt_id in chosen]


def _asked(records: list[Record], turns: int) -> Iterable[Record]:
    """Each record, and after it the later turns of its conversation as records of their own."""
    for record in records:
        yield record
        for turn in range(1, min(turns, len(record.turns))):
            yield replace(
                record,
                prompt=Prompt(
                    prompt_id=turn_id(record.prompt.prompt_id, turn + 1),
                    domain=record.prompt.domain,
                    text=record.turns[turn],
                    earlier=record.turns[:turn],
                ),
            )
