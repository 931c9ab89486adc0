"""What a run is: every setting that can move a number, frozen and checked when it is made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from draftproof.budget import EVERY_OTHER, NO_MODEL, PromisedFigures, given_to
from draftproof.choices import DEVICES, DTYPES, RULE_NAMES, SPREAD
from draftproof.differences import Mismatch, differences, flat
from draftproof.errors import UsageError, unknown_value
from draftproof.laws import valid_rules
from draftproof.paths import is_file, is_folder
from draftproof.prompt_sources import OWN_PROMPTS, PARTS, parse_columns, parse_prompts
from draftproof.shapes import NO_TREE, KAryShape, TreeShape, parse_tree

BUILTIN = "builtin"
"""The name of the pair that comes with draftproof, for ``--spec-target`` and ``--spec-draft``."""
BUILTIN_SMALL = "builtin-small"
"""The name of the smaller built-in draft model, which shares the pair's tokenizer."""
NO_DRAFT = "none"
"""The name of no draft model, for ``--spec-draft``: engines that draft by themselves need none."""


def _require(condition: bool, option: str, problem: str) -> None:
    if not condition:
        raise UsageError(f"{option}: {problem}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How logits become the distribution that tokens are drawn from, in both ways of decoding.

    Applied in this order: repetition penalty, `min_new_tokens`, temperature, top-k, top-p, min-p.

    Attributes:
        temperature: 0 is greedy decoding; otherwise logits are divided by it.
        top_k: Keep the k most probable tokens; 0 keeps all.
        top_p: Keep the fewest tokens whose probabilities add up to this; 1 keeps all.
        min_p: Keep tokens of at least this share of the largest probability; 0 keeps all.
        repetition_penalty: Divides a positive logit of a token that the prompt or the output has,
            and multiplies a negative one; 1 changes nothing.
        min_new_tokens: Stop tokens are impossible before an output has this many tokens.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.temperature) and self.temperature >= 0,
            "--spec-temperature",
            f"{self.temperature} is not a temperature; give 0 (greedy) or a positive number",
        )
        _require(self.top_k >= 0, "--spec-top-k", f"{self.top_k} is negative; give 0 to keep all")
        _require(0 < self.top_p <= 1, "--spec-top-p", f"{self.top_p} is not in (0, 1]; 1 keeps all")
        _require(0 <= self.min_p <= 1, "--spec-min-p", f"{self.min_p} is not in [0, 1]")
        _require(
            math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0,
            "--spec-repetition-penalty",
            f"{self.repetition_penalty} is not a positive number; 1 changes nothing",
        )
        _require(
            self.min_new_tokens >= 0,
            "--spec-min-new-tokens",
            f"{self.min_new_tokens} is negative; give 0 or more",
        )

    @property
    def greedy(self) -> bool:
        """Whether every distribution is one-hot, so that no draw is random."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """The settings of a run.

    Attributes:
        target: ``builtin``, a local folder, a hub id or a ``.gguf`` file.
        draft: The same for the draft model, or ``none``.
        dtype: Weights' type; ``auto`` is float32 on a CPU for the built-in pair, else the
            checkpoint's own, or float32 where a CPU has no instructions for that.
        device: ``auto`` takes cuda, mps or cpu, the first that is there; ``cuda:1`` is the second
            of several, and ``spread`` gives the target's layers to all of them.
        draft_device: The same for the draft model; None for the target's, or its first one.
        tree: Shape of the drafts.
        rule: Name of the acceptance rule; ``auto`` is greedy at temperature 0 and otherwise the
            lossless rule for the drafter's proposal law.
        sampling: How tokens are drawn.
        max_new_tokens: Length limit of an output, in tokens.
        tie_tolerance: Margin in logits within which a greedy token may differ from the target's own
            by rounding; None for the dtype's own.
        law_alpha: Above temperature 0, the most probable that a lossless engine is rejected by the
            anytime-valid test; 0 leaves it out.
        stop_strings: Texts that end an output, with the token that completes one.
        seed: Seeds prompt sampling and every draw.
        limit: Prompts a domain, None for all.
        prompts: Which data sets, as `draftproof.prompt_sources.parse_prompts` reads it.
        data_dir: Folder with the public data sets, None for the hub.
        jsonl: One's own file of prompts, behind ``own`` in `prompts`.
        columns: What that file's columns hold, as
            `draftproof.prompt_sources.parse_columns` reads it.
        turns: How many turns of a conversation are asked, each a case of its own.
        execute_code: Whether outputs that are code are run to score them.
        trust_remote_code: Whether code that comes with a model may run.
        check_state: Share of the steps at which both models' cached logits are compared with a
            recompute from scratch: 0 for none, 1 for every step (slow).
        draw_log: Folder for a file with every random draw of each case, None to write none.
        engine: Name of the engine under test.
        engine_options: The engine's own settings, as pairs of name and value.
        batch: Prompts that are decoded at once; None for as many as the device has room for.
        concurrency: Requests that are in flight at once, in shuffled order; 1 asks for one after
            another.
        engine_timeout: Seconds an engine may take for one output; 0 for any time. The reference
            engine is not timed.
        budget: What each domain is given in place of `draft` and `tree`: domain, draft model (or
            ``none``, or ``lookup``) and tree; the domain ``*`` is every other one. Empty: nothing.
        drafter: Where a drafter of the user's own is, as ``package.module:name``, in place of the
            one that proposes `tree`; None for that one.
        promises: What the budget's advice promised, for the report to stand beside what was
            measured.
    """

    target: str = BUILTIN
    draft: str = BUILTIN
    dtype: str = "auto"
    device: str = "auto"
    draft_device: str | None = None
    tree: TreeShape = field(default_factory=lambda: KAryShape(3, 2))
    rule: str = "auto"
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 64
    tie_tolerance: float | None = None
    law_alpha: float = 1e-4
    stop_strings: tuple[str, ...] = ()
    seed: int = 0
    limit: int | None = 50
    prompts: str = BUILTIN
    data_dir: str | None = None
    jsonl: str | None = None
    columns: str | None = None
    turns: int = 1
    execute_code: bool = False
    trust_remote_code: bool = False
    check_state: float = 0.02
    draw_log: str | None = None
    engine: str = "reference"
    engine_options: tuple[tuple[str, str], ...] = ()
    batch: int | None = 1
    concurrency: int = 1
    engine_timeout: float = 600.0
    budget: tuple[tuple[str, str, str], ...] = ()
    promises: tuple[PromisedFigures, ...] = ()
    drafter: str | None = None

    def __post_init__(self) -> None:
        for option, value, choices in (
            ("--spec-dtype", self.dtype, DTYPES),
            ("--spec-device", _kind(self.device), (*DEVICES, SPREAD)),
            ("--spec-draft-device", _kind(self.draft_device or "auto"), DEVICES),
            ("--spec-rule", self.rule, RULE_NAMES),
        ):
            if value not in choices and not (option == "--spec-rule" and is_own_part(value)):
                raise unknown_value(option, value, choices)
        _require(
            self.drafter is None or is_own_part(self.drafter),
            f"--spec-drafter {self.drafter}",
            "is no place: give package.module:name, where a class or a function takes the draft "
            "model and returns a drafter; drafters that come with draftproof are named by "
            "--spec-tree",
        )
        _require(
            self.drafter is None or not self.budget,
            "--spec-drafter",
            "proposes for every domain; leave --spec-budget out",
        )
        _require(
            self.max_new_tokens >= 1,
            "--spec-max-new-tokens",
            f"{self.max_new_tokens} leaves nothing to decode; give at least 1",
        )
        _require(
            self.limit is None or self.limit >= 1,
            "--spec-limit",
            f"{self.limit} leaves no prompts; give at least 1, or 'all'",
        )
        _require(self.seed >= 0, "--spec-seed", f"{self.seed} is negative; give 0 or more")
        _require(
            self.tie_tolerance is None or self.tie_tolerance >= 0,
            "--spec-tie-tolerance",
            f"{self.tie_tolerance} is negative; give a margin in logits, 0 to allow none",
        )
        _require(
            0 <= self.law_alpha < 1,
            "--spec-law-alpha",
            f"{self.law_alpha} is not a probability below 1; give 0 to leave the test out",
        )
        _require(
            0 <= self.check_state <= 1,
            "--spec-check-state",
            f"{self.check_state} is not a share of the steps; give 0 (none) to 1 (all)",
        )
        _require(
            self.batch is None or self.batch >= 1,
            "--spec-batch",
            f"{self.batch} decodes nothing; give at least 1, or 'auto'",
        )
        _require(
            self.concurrency >= 1,
            "--spec-concurrency",
            f"{self.concurrency} requests in flight decode nothing; give at least 1",
        )
        _require(
            self.concurrency == 1 or self.batch == 1,
            "--spec-concurrency",
            "the requests in flight are the batch; leave --spec-batch out",
        )
        _require(
            (self.batch == 1 and self.concurrency == 1) or self.draw_log is None,
            "--spec-log-draws",
            "writes the draws of prompts that are decoded one at a time; leave --spec-batch and "
            "--spec-concurrency out",
        )
        _require(
            math.isfinite(self.engine_timeout) and self.engine_timeout >= 0,
            "--spec-engine-timeout",
            f"{self.engine_timeout} is not a time; give seconds, or 0 for any time",
        )
        _require(
            not self.engine_options or self.engine != "reference",
            "--spec-engine-option",
            "the reference engine has no settings of its own; name the engine that has them with "
            "--spec-engine",
        )
        self._require_valid_rule()
        _require(
            self.draw_log is None or self.engine == "reference",
            "--spec-log-draws",
            f"the engine '{self.engine}' does not tell its draws; only 'reference' does",
        )
        _require(
            not self.budget or self.engine == "reference",
            "--spec-budget",
            f"the engine '{self.engine}' has drafts of its own; only 'reference' is told what each "
            "domain is given",
        )
        for domain, _, _ in self.budget:
            try:
                self.allotted(domain)
            except UsageError as error:
                raise UsageError(f"{given_to(domain)}: {error}") from error
        _require("" not in self.stop_strings, "--spec-stop", "an empty text would end every output")
        self._require_valid_prompts()

    def _require_valid_prompts(self) -> None:
        names = [choice.name for choice in parse_prompts(self.prompts)]
        if self.data_dir is not None:
            _require(
                any(name in PARTS for name in names),
                "--spec-data",
                f"holds public data sets, which '{self.prompts}' prompts are not; add "
                "--spec-prompts real, or name some",
            )
            _require(is_folder(self.data_dir), "--spec-data", f"'{self.data_dir}' is not a folder")
        _require(
            self.jsonl is None or OWN_PROMPTS in names,
            "--spec-jsonl",
            f"is read for --spec-prompts own, not for '{self.prompts}'; add ',own' to it",
        )
        _require(
            self.jsonl is not None or OWN_PROMPTS not in names,
            "--spec-prompts",
            "'own' is the file of --spec-jsonl FILE; add it",
        )
        if self.jsonl is not None:
            _require(is_file(self.jsonl), "--spec-jsonl", f"there is no file '{self.jsonl}'")
        if self.columns is not None:
            _require(
                self.jsonl is not None, "--spec-columns", "describes --spec-jsonl FILE; add it"
            )
            parse_columns(self.columns)
        _require(self.turns >= 1, "--spec-turns", f"{self.turns} asks nothing; give 1 or more")

    def _require_valid_rule(self) -> None:
        if self.rule == "auto" or self.has_own_parts or self.budget:
            # What a drafter of the user's own proposes is known once it is made; what a budget
            # gives is looked at by domain.
            return
        valid = valid_rules(
            self.tree.law, is_chain=self.tree.is_chain, is_greedy=self.sampling.greedy
        )
        _require(
            self.rule in valid,
            f"--spec-rule {self.rule}",
            f"is not valid for --spec-tree {self.tree} (siblings are {self.tree.law}) at "
            f"temperature {self.sampling.temperature:g}; use one of: auto, {', '.join(valid)}",
        )

    @property
    def has_own_parts(self) -> bool:
        """Whether the drafter or the acceptance rule is one of the user's own."""
        return self.drafter is not None or is_own_part(self.rule)

    def allotted(self, domain: str) -> RunConfig:
        """The settings for the prompts of a domain: its own draft model and tree.

        Raises:
            UsageError: The run's rule is not valid for that tree.
        """
        given = {name: (draft, tree) for name, draft, tree in self.budget}
        found = given.get(domain, given.get(EVERY_OTHER))
        if found is None:
            return self
        draft, text = found
        tree = parse_tree(text)
        return dataclasses.replace(
            self,
            draft=NO_DRAFT if draft in NO_MODEL else draft,
            tree=tree,
            rule="auto" if tree == NO_TREE else self.rule,  # which has nothing to accept there
            budget=(),
            promises=(),
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values, `from_json`'s inverse."""
        return {
            **dataclasses.asdict(self),
            "tree": str(self.tree),
            "stop_strings": list(self.stop_strings),
            "engine_options": [list(pair) for pair in self.engine_options],
            "budget": [list(each) for each in self.budget],
            "promises": {each.domain: each.to_json() for each in self.promises},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The settings from plain values.

        Raises:
            UsageError: A key is unknown, or a value is not valid.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise unknown_value("configuration key", key, known)
        values = dict(values)
        if "tree" in values:
            values["tree"] = parse_tree(values["tree"])
        if "sampling" in values:
            values["sampling"] = Sampling(**values["sampling"])
        if "stop_strings" in values:
            values["stop_strings"] = tuple(values["stop_strings"])
        if "budget" in values:
            values["budget"] = tuple(tuple(each) for each in values["budget"])
        if "promises" in values:
            values["promises"] = tuple(
                PromisedFigures.from_json(domain, each, "the run's settings")
                for domain, each in values["promises"].items()
            )
        if "engine_options" in values:
            values["engine_options"] = tuple(
                (key, value) for key, value in values["engine_options"]
            )
        return cls(**values)

    def fingerprint(self) -> str:
        """A hash that two runs share exactly when all their settings are the same.

        Places are left out, since the same prompts may lie elsewhere, and so are `engine_timeout`
        and `promises`, which move no number.
        """
        settings = self.to_json()
        for name in MOVE_NO_NUMBER:
            del settings[name]
        # As it was when there were none.
        if self.batch == 1:
            del settings["batch"]
        if self.concurrency == 1:
            del settings["concurrency"]
        if self.draft_device is None:
            del settings["draft_device"]
        if not self.budget:
            del settings["budget"]
        if self.drafter is None:
            del settings["drafter"]
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changed_from(self, stored: Mapping[str, Any]) -> list[Mismatch]:
        """The settings of a `fingerprint` that a stored run has otherwise.

        Args:
            stored: As `to_json` made them, by this or an earlier version.
        """
        left_out = dict.fromkeys(MOVE_NO_NUMBER)
        kept = {**RunConfig().to_json(), **stored}, self.to_json()
        return differences(*(dict(flat({**values, **left_out})) for values in kept))


MOVE_NO_NUMBER = ("data_dir", "jsonl", "draw_log", "engine_timeout", "promises")
"""Names of settings that two runs may differ in and still be of the same settings."""


def is_own_part(name: str) -> bool:
    """Whether a name says where a part of the user's own is.

    Example:
        >>> is_own_part("my_rules:Strict"), is_own_part("greedy")
        (True, False)
    """
    return ":" in name


def _kind(device: str) -> str:
    """A device without its index."""
    return re.sub(r"^cuda:\d+$", "cuda", device)
