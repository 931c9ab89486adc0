"""What is recorded of a prompt: the target's trajectory, and how each draft model saw it.

A recording holds what both models said along one text, the *trajectory*, and nothing about any
tree. That decides the acceptance of every tree whose shape does not depend on probabilities off the
trajectory: a node can only be kept if all its ancestors were, so the part of a tree that decides
what is kept lies on the trajectory itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from draftproof.errors import TraceError, UsageError, printable, unknown_value

SCHEMA_VERSION = 1
"""Raised whenever a column or a field changes its name, its type or its meaning."""

UNKNOWN_RANK = np.iinfo(np.int32).max
"""Rank of a token where the draft model's context has no room: no tree proposes it."""

TARGET_COLUMNS: dict[str, str] = {"log_probability": "<f4", "entropy": "<f4"}
"""Of each token of the trajectory: the logarithm of its probability under the target after the
tokens before it, and the entropy of that distribution, in nats. After the recording's temperature
and filters, or of the unscaled softmax at temperature 0."""

DRAFT_COLUMNS: dict[str, str] = {
    "rank": "<i4",
    "margin": "<f4",
    "log_probability": "<f4",
    "entropy": "<f4",
    "overlap": "<f4",
}
"""Of each token of the trajectory, under a draft model: the sibling rank at which a tree proposes
it (tokens of larger logit; its argmax has 0); how far its logit is from the nearest other one, so
that rounding by less cannot change its rank; the logarithm of its probability and the entropy of
its alternatives, as the target's are; and the overlap Σ min(p, q) of the two distributions."""

TOP_COLUMNS: dict[str, str] = {
    "top_token_id": "<i4",
    "top_log_probability": "<f4",
    "top_target_log_probability": "<f4",
    "top_target_rank": "<u2",
}
"""Of each position, ``[k]``: the draft model's k most probable tokens, in the order in which trees
propose them; the logarithms of their probabilities under the draft model and under the target; and
how many tokens come before each under the target, 65535 for that many or more."""


CHAIN_COLUMNS: dict[str, str] = {"chain_probability": "<f4", "chain_entropy": "<f4"}
"""Of each position that a step may draft first, ``[rollout]``: how sure the draft model is of each
token of its own greedy chain from there, which leaves the trajectory at the first token that the
target does not say: its largest probability, and the entropy. At temperature 0 only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDraft:
    """How a draft model saw a trajectory.

    Attributes:
        columns: `DRAFT_COLUMNS`, each ``[tokens]``.
        top: `TOP_COLUMNS`, each ``[tokens, k]``.
        chain: `CHAIN_COLUMNS`, each ``[tokens, rollout]``; NaN where there was no room.
    """

    columns: Mapping[str, np.ndarray]
    top: Mapping[str, np.ndarray]
    chain: Mapping[str, np.ndarray]

    @property
    def k(self) -> int:
        """Tokens kept of each position."""
        return int(self.top["top_token_id"].shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCase:
    """A prompt's trajectory, and what each model said along it.

    Position i is where token i of the trajectory was predicted, from the prompt and the tokens
    before it. Tokens from `committed` on, the *overrun*, are what the target would have said after
    the end of the output: a draft may reach beyond an end, and what a step keeps there is cut off.

    Attributes:
        case_id: The prompt's stable id.
        domain: Its domain.
        prompt_token_ids: ``[≥ 1]``, chat template included.
        token_ids: ``[≥ committed]`` the trajectory, overrun included.
        committed: Tokens of the output.
        stop_reason: Why the output ended.
        target: `TARGET_COLUMNS`, each ``[tokens]``.
        drafts: By the name of a draft model.
    """

    case_id: str
    domain: str
    prompt_token_ids: np.ndarray
    token_ids: np.ndarray
    committed: int
    stop_reason: str
    target: Mapping[str, np.ndarray]
    drafts: Mapping[str, RecordedDraft]

    def coupling_probability(self, draft: str) -> np.ndarray:
        """The chance that each token came from an accepted draft of a chain, given the trajectory.

        A drafted token is emitted with probability min(p, q), and the token is emitted in all with
        probability p: so the chance is min(1, q/p), the *reverse coupling*. Given the trajectory,
        the coins of its positions are independent of each other.

        Returns:
            float64 ``[tokens]``.

        Source:
            Bayes' rule on Leviathan et al. 2023, Algorithm 1; the recording must be at the
            temperature and with the filters that the chain is drawn and judged with.
        """
        q = self.drafts[draft].columns["log_probability"].astype(np.float64)
        p = self.target["log_probability"].astype(np.float64)
        return np.asarray(np.exp(np.minimum(0.0, q - p)))

    def check(self, info: RecordingInfo) -> None:
        """Verify that the columns are what a recording of some models has.

        Raises:
            TraceError: Names the prompt, and what cannot be.
        """
        tokens, shown = len(self.token_ids), printable(repr(self.case_id))
        if not len(self.prompt_token_ids) or not 1 <= self.committed <= tokens:
            raise TraceError(
                f"{shown} has {len(self.prompt_token_ids)} prompt tokens and {self.committed} of "
                f"{tokens} tokens committed; each is at least 1"
            )
        if tuple(self.drafts) != info.drafts:
            raise TraceError(
                f"{shown} was recorded with the draft models {', '.join(self.drafts)}, and not "
                f"with {', '.join(info.drafts)}"
            )
        for name in ("prompt_token_ids", "token_ids"):
            column = getattr(self, name)
            _require(shown, name, column, _kind_of("<i4"), (len(column),))
            if not ((column >= 0) & (column < info.vocabulary_size)).all():
                raise TraceError(f"{shown} has token ids beyond the vocabulary in {name}")
        _check_columns(shown, "target", self.target, TARGET_COLUMNS, (tokens,))
        for draft, each in self.drafts.items():
            _check_columns(shown, draft, each.columns, DRAFT_COLUMNS, (tokens,))
            _check_columns(shown, draft, each.top, TOP_COLUMNS, (tokens, info.k))
            _check_columns(shown, draft, each.chain, CHAIN_COLUMNS, (tokens, info.rollout))
            if (each.columns["rank"] < 0).any():
                raise TraceError(f"{shown} has a negative rank under {draft}")
        for owner, column in self._log_probabilities():
            if np.isnan(column).any() or (column > _ABOVE_ONE).any():
                raise TraceError(f"{shown} has a log-probability of {owner} that is none")

    def _log_probabilities(self) -> Iterator[tuple[str, np.ndarray]]:
        """Where every token has one: of the target, and of draft models with room."""
        yield "the target", self.target["log_probability"]
        for draft, each in self.drafts.items():
            has_room = each.columns["rank"] < UNKNOWN_RANK
            yield draft, each.columns["log_probability"][has_room]
            yield draft, each.top["top_log_probability"][has_room]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingInfo:
    """What a recording was made of.

    Attributes:
        models: Of ``target`` and of each draft model by its name: what was loaded.
        max_lengths: The most tokens that each of them attends to, by the same names.
        vocabulary_size: Token ids that the models share.
        settings: The run's settings, as `draftproof.config.RunConfig.to_json`.
        k: Tokens kept of each position.
        overrun: Tokens recorded after the end of an output.
        rollout: Tokens of each draft model's own chain recorded from every position.
        off_policy: Where the trajectories come from, if they are not the target's own text; else
            empty.
        versions: Of Python and of the packages that can move a number.
        hardware: What it ran on.
        sources: Names of the data sets of the prompts.
    """

    models: Mapping[str, Mapping[str, Any]]
    max_lengths: Mapping[str, int]
    vocabulary_size: int
    settings: Mapping[str, Any]
    k: int
    overrun: int
    rollout: int = 0
    off_policy: str = ""
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    sources: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What was recorded, from JSON values.

        Raises:
            TraceError: A value is missing, unknown, or none that it can have.
        """
        if not isinstance(values, Mapping):
            raise TraceError("it does not say what was recorded")
        names = [each.name for each in fields(cls)]
        if unknown := [name for name in values if name not in names]:
            raise TraceError(f"unknown key {printable(repr(unknown[0]))}")
        try:
            found = cls(**{**values, "sources": tuple(values["sources"])})
            lengths: Any = found.max_lengths
            target = found.settings["target"]
            temperature = found.settings["sampling"]["temperature"]
            sound = {
                "max_lengths": isinstance(lengths, Mapping)
                and "target" in lengths
                and all(map(_is_count, lengths.values())),
                "vocabulary_size": _is_count(found.vocabulary_size) and found.vocabulary_size > 0,
                "k": _is_count(found.k) and found.k > 0,
                "overrun": _is_count(found.overrun),
                "rollout": _is_count(found.rollout),
                "off_policy": isinstance(found.off_policy, str),
                "models": isinstance(found.models, Mapping)
                and all(isinstance(each, Mapping) for each in found.models.values()),
                "settings": isinstance(target, str)
                and type(temperature) in (int, float)
                and 0 <= temperature < float("inf"),
                "versions": isinstance(found.versions, Mapping),
                "hardware": isinstance(found.hardware, Mapping),
                "sources": all(isinstance(each, str) for each in found.sources),
            }
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"it does not say all that was recorded ({error!r})") from error
        for name, is_sound in sound.items():
            if not is_sound:
                raise TraceError(f"{name} is none that a recording can have")
        return found

    @property
    def temperature(self) -> float:
        """Sampling temperature of the trajectories; 0 is greedy."""
        return float(self.settings["sampling"]["temperature"])

    @property
    def drafts(self) -> tuple[str, ...]:
        """Names of the draft models, in the order in which they were asked for."""
        return tuple(name for name in self.max_lengths if name != "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording, read back.

    Attributes:
        info: What it was made of.
        cases: One a prompt, all with the same draft models.
        complete: Whether every prompt that was asked for is in it.
    """

    info: RecordingInfo
    cases: tuple[RecordedCase, ...]
    complete: bool = True

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of its prompts, in the order of their first prompt."""
        return tuple(dict.fromkeys(case.domain for case in self.cases))

    def of_domain(self, domain: str) -> tuple[RecordedCase, ...]:
        """The cases of a domain.

        Raises:
            UsageError: There is none.
        """
        cases = tuple(case for case in self.cases if case.domain == domain)
        if not cases:
            raise unknown_value("--domain", domain, self.domains)
        return cases

    def require_cases(self) -> None:
        """Refuse a recording without a prompt.

        Raises:
            UsageError: Says how to go on with it.
        """
        if not self.cases:
            raise UsageError(
                "the recording has no prompt yet; run the same `draftproof record` again, which "
                "goes on with it"
            )

    def require_draft(self, name: str) -> None:
        """Refuse a draft model that was not recorded.

        Raises:
            UsageError: Names those that were.
        """
        if name not in self.info.drafts:
            raise unknown_value("--draft", name, self.info.drafts)

    def require_ranks(self, ranks: int, what: str) -> None:
        """Refuse a tree with more siblings than tokens were kept of each position.

        Raises:
            UsageError: Says how many, and how to record more.
        """
        if ranks > self.info.k and self.info.k < self.info.vocabulary_size:
            raise UsageError(
                f"{what} proposes {ranks} siblings, and the recording keeps the {self.info.k} most "
                f"probable tokens of each position; record again with --k {ranks}"
            )


_ABOVE_ONE = 1e-3
"""Logarithms of probabilities are at most 0, but for rounding."""


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _kind_of(dtype: str) -> str:
    """``i`` of whole numbers, ``f`` of others, however wide they are stored."""
    return "f" if np.dtype(dtype).kind == "f" else "i"


def _check_columns(
    case_id: str,
    owner: str,
    columns: Mapping[str, np.ndarray],
    schema: Mapping[str, str],
    shape: tuple[int, ...],
) -> None:
    if set(columns) != set(schema):
        raise TraceError(
            f"{case_id}: {owner} has the columns {sorted(columns)}, and not {sorted(schema)}"
        )
    for name, column in columns.items():
        _require(case_id, f"{name} of {owner}", column, _kind_of(schema[name]), shape)


def _require(
    case_id: str, what: str, column: np.ndarray, kind: str, shape: tuple[int, ...]
) -> None:
    """Verify the type and the shape of a column.

    Raises:
        TraceError: They are others.
    """
    if column.dtype.kind not in ("f" if kind == "f" else "iu"):
        raise TraceError(f"{case_id}: column {what} has values of type {column.dtype}")
    if column.shape != shape:
        expected, found = (" × ".join(map(str, each)) for each in (shape, column.shape))
        raise TraceError(f"{case_id}: column {what} has {found} values, and not {expected}")
