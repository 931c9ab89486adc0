"""Budget files: which draft model and which tree each domain is given."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from draftproof.errors import ModelError, UsageError
from draftproof.shapes import NO_TREE, LookupShape, TreeShape, parse_tree

SCHEMA_VERSION = 1
_KIND = "draftproof budget"
FILTERS = ("top_k", "top_p", "min_p")
"""Settings of sampling that decide what drafts keep, beside the temperature and above 0."""

EVERY_OTHER = "*"
"""Stands for every domain that a budget does not name."""
NO_MODEL = ("none", "lookup")
"""Names of drafts that no model makes: no speculation, and prompt lookup."""

_PROMISED = ("block_efficiency", "speedup")
_ENDS = ("value", "low", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """What a domain is given.

    Attributes:
        draft: A draft model as ``--spec-draft`` names it, or one of `NO_MODEL`.
        tree: Shape of its drafts.
    """

    draft: str
    tree: TreeShape


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedFigures:
    """What the advice promised for the prompts of a domain.

    Attributes:
        domain: Its name.
        block_efficiency: Committed tokens ÷ steps: value, low and high; NaN where there is none.
        speedup: Plain ÷ speculative seconds, likewise.
        off_policy: Where the texts came from that it follows from, if they were not the target's
            own; else empty.
    """

    domain: str
    block_efficiency: tuple[float, float, float]
    speedup: tuple[float, float, float]
    off_policy: str = ""

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values, each with ``value``, ``low`` and ``high``."""
        figures: dict[str, Any] = {
            name: {
                end: value if math.isfinite(value) else None
                for end, value in zip(_ENDS, getattr(self, name), strict=True)
            }
            for name in _PROMISED
        }
        return {**figures, **({"off_policy": self.off_policy} if self.off_policy else {})}

    @classmethod
    def from_json(cls, domain: str, values: Any, where: str) -> Self:
        """The figures of a domain from JSON values.

        Args:
            domain: Its name.
            values: As `to_json` makes them; other keys are passed over.
            where: The file, for messages.

        Raises:
            UsageError: A figure is missing, or no number.
        """
        try:
            figures = {name: _figure(values[name]) for name in _PROMISED}
            off_policy = values.get("off_policy", "")
            if not isinstance(off_policy, str):
                raise TypeError(f"off_policy is {off_policy!r}, and should be a text")
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"{where}: promises: {domain}: has block_efficiency and speedup, each with value, "
                f"low and high, numbers or null ({error!r}); write the budget again with "
                "`draftproof advise --budget FILE`, or leave promises out"
            ) from error
        return cls(domain=domain, **figures, off_policy=off_policy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One draft model and tree a domain.

    Attributes:
        target: The target that it was made for, as ``--spec-target`` names it.
        temperature: Sampling temperature that it was made for.
        domains: By domain.
        otherwise: For every other domain.
        promises: What the advice promised, a domain at most once.
        filters: ``top_k``, ``top_p`` and ``min_p`` that it was made for; None where the file does
            not say.
    """

    target: str
    temperature: float
    domains: Mapping[str, Allotment]
    otherwise: Allotment
    promises: tuple[PromisedFigures, ...] = ()
    filters: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        require_domains(self.domains)

    def of(self, domain: str) -> Allotment:
        """What a domain is given."""
        return self.domains.get(domain, self.otherwise)

    @property
    def drafts(self) -> tuple[str, ...]:
        """The draft models that it needs."""
        listed = [*self.domains.values(), self.otherwise]
        names = dict.fromkeys(each.draft for each in listed)
        return tuple(name for name in names if name not in NO_MODEL)

    @property
    def pairs(self) -> tuple[tuple[str, str, str], ...]:
        """Domain, draft model and tree; the domain of `otherwise` is `EVERY_OTHER`."""
        listed = {**self.domains, EVERY_OTHER: self.otherwise}
        return tuple((name, each.draft, str(each.tree)) for name, each in listed.items())

    def require_made_for(
        self,
        target: str,
        temperature: float,
        where: str,
        filters: Mapping[str, float] | None = None,
    ) -> None:
        """Refuse a budget of another target or temperature, or, above temperature 0, other filters.

        Raises:
            UsageError: Says which it was made for, and what to do.
        """
        if target != self.target:
            raise UsageError(
                f"{where} was made for the target '{self.target}', and this run's is '{target}'; "
                "make one for it with `draftproof advise`, or leave --spec-budget out"
            )
        if temperature != self.temperature:
            raise UsageError(
                f"{where} was made for temperature {self.temperature:g}, and this run's is "
                f"{temperature:g}; record and advise at that temperature"
            )
        if temperature and self.filters is not None and filters is not None:
            for name, value in self.filters.items():
                if filters.get(name) != value:
                    raise UsageError(
                        f"{where} was made for {name} {value:g}, and this run's is "
                        f"{filters.get(name):g}; record and advise with the same filters"
                    )

    def to_json(self) -> dict[str, Any]:
        """The budget as JSON values; `from_json`'s inverse."""
        return {
            "kind": _KIND,
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "temperature": self.temperature,
            "domains": {
                name: {"draft": each.draft, "tree": str(each.tree)}
                for name, each in self.domains.items()
            },
            "otherwise": {"draft": self.otherwise.draft, "tree": str(self.otherwise.tree)},
            "promises": {each.domain: each.to_json() for each in self.promises},
            **({} if self.filters is None else {"filters": dict(self.filters)}),
        }

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """The budget from JSON values.

        Args:
            values: As `to_json` makes them.
            where: The file, for messages.

        Raises:
            UsageError: They are none of a budget.
        """
        if not isinstance(values, dict) or values.get("kind") != _KIND:
            raise UsageError(
                f"{where} is not a budget file; `draftproof advise --budget FILE` writes one"
            )
        version = values.get("schema_version", SCHEMA_VERSION)
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise UsageError(
                f"{where} has schema version {version!r}, and this draftproof reads up to "
                f"{SCHEMA_VERSION}; install a newer one, or write the budget again with "
                "`draftproof advise --budget FILE`"
            )
        try:
            return cls(
                target=_name(values["target"]),
                temperature=_number(values["temperature"], "temperature"),
                domains={
                    str(name): _allotment(each, f"{where}: {name}")
                    for name, each in values["domains"].items()
                },
                otherwise=_allotment(values["otherwise"], f"{where}: otherwise"),
                promises=tuple(
                    PromisedFigures.from_json(str(name), each, where)
                    for name, each in values.get("promises", {}).items()
                ),
                filters=_filters(values.get("filters"), where),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(
                f"{where}: a budget has target, temperature, domains and otherwise, each domain a "
                f"draft and a tree ({error!r})"
            ) from error


def require_domains(names: Iterable[str]) -> None:
    """Refuse domains that a budget cannot name.

    Raises:
        UsageError: One is called `EVERY_OTHER`.
    """
    if EVERY_OTHER in names:
        raise UsageError(
            f"a budget cannot name a domain '{EVERY_OTHER}', which stands for every other one "
            "there; give the domain another name and record again"
        )


def given_to(domain: str) -> str:
    """Where a budget gives something, for messages.

    Example:
        >>> given_to("code")
        '--spec-budget, the domain code'
    """
    where = "every other domain" if domain == EVERY_OTHER else f"the domain {domain}"
    return f"--spec-budget, {where}"


@contextmanager
def blamed_on_budget(domain: str) -> Iterator[None]:
    """Errors over a draft model name the budget that gives it, and no option that was not given.

    Raises:
        ModelError, UsageError: As was raised, with the other name.
    """
    try:
        yield
    except (ModelError, UsageError) as error:
        text = str(error).replace("--spec-draft", f"{given_to(domain)}, the draft model", 1)
        raise type(error)(text) from error


def load_budget(path: Path) -> Budget:
    """A budget from its file.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    try:
        values = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"--spec-budget: cannot read {path} ({error.strerror}); `draftproof advise --budget "
            f"{path}` writes one"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--spec-budget: {path} is not JSON ({error})") from error
    return Budget.from_json(values, f"--spec-budget {path}")


def _figure(values: Mapping[str, float | None]) -> tuple[float, float, float]:
    """Value, low and high; NaN for null.

    Raises:
        KeyError, TypeError, ValueError: One is missing, or no finite number.
    """
    given = [values[end] for end in _ENDS]
    for number in given:
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise TypeError(f"{number!r} is no number")
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{number!r} is not finite")
    value, low, high = (math.nan if number is None else float(number) for number in given)
    if low > high:
        raise ValueError(f"low is {low:g}, and high {high:g}")
    return value, low, high


def _name(value: Any) -> str:
    """A target's name.

    Raises:
        TypeError: It is no text.
    """
    if not isinstance(value, str):
        raise TypeError(f"target is {value!r}, and should be a name")
    return value


def _number(value: Any, name: str) -> float:
    """A setting of sampling.

    Raises:
        TypeError, ValueError: It is no number, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, and should be a number")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}, and should be 0 or more")
    return float(value)


def _filters(values: Any, where: str) -> dict[str, float] | None:
    """Filters by name; None where the file does not say.

    Raises:
        UsageError: One is missing, or no number.
    """
    if values is None:
        return None
    try:
        return {name: _number(values[name], name) for name in FILTERS}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{where}: filters has {', '.join(FILTERS)}, each a number ({error!r}); leave filters "
            "out where they are not known"
        ) from error


def _allotment(values: Any, where: str) -> Allotment:
    if not isinstance(values, Mapping) or not {"draft", "tree"} <= values.keys():
        raise UsageError(f"{where}: give a draft and a tree")
    for name in ("draft", "tree"):
        if not isinstance(values[name], str) or not values[name].strip():
            raise UsageError(
                f"{where}: {name} is {values[name]!r}, and should be a name, in quotation marks"
            )
    draft, tree = values["draft"], parse_tree(values["tree"], f"{where}: tree")
    is_lookup = isinstance(tree, LookupShape)
    if (draft in NO_MODEL) != is_lookup or (draft == "none") != (tree == NO_TREE):
        raise UsageError(
            f"{where}: the draft '{draft}' does not go with the tree '{tree}'; 'none' has the tree "
            "none, 'lookup' has lookup:5, and a draft model has any other"
        )
    return Allotment(draft=draft, tree=tree)
