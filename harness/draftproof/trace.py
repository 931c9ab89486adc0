"""The raw facts of a run: what is stored, and nothing that can be derived from it.

A case is one prompt. Its steps and nodes are columns (flat arrays of equal length), so that a
trace is as cheap to keep for a hundred million nodes as for a hundred. Reading a trace needs numpy
only.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np

from draftproof.errors import TraceError

SCHEMA_VERSION = 4
"""Raised whenever a column or a field changes its name, its type or its meaning.

Version 4 holds what other tools tell of a run: outputs whose token ids, length, seconds or prompt
are not told, counters of several outputs together, and cases that nothing was compared of.

Version 3 tells steps and drafted steps apart in ``counts``. Version 2 had one number, which engines
meant differently: it is read as drafted steps, which are never more than the steps, unless there
are more of them than drafted tokens.

Version 2 added the node column ``overlap`` and the fields ``forks``, ``contradictions`` and
``counts``, and split the verdict ``different`` into ``numerical`` and ``algorithmic``. Version 1 is
still read: what it lacks is NaN or empty, and its ``different`` is ``algorithmic``, since it failed
a case as that does."""

Columns = Mapping[str, np.ndarray]
"""Named arrays of equal length."""

Arrivals = tuple[tuple[float, int], ...]
"""Of each piece of an answer: seconds since the request was sent, and tokens that it brought."""

ServerSeconds = tuple[float, float]
"""By a server's own clock: seconds from a request to its first token, and to its last. NaN for one
that it does not tell."""

STEP_COLUMNS: dict[str, str] = {
    "step": "<i4",
    "nodes": "<i4",
    "depth": "<i2",
    "accepted_length": "<i2",
    "committed_tokens": "<i2",
    "root_position": "<i4",
    "draft_seconds": "<f4",
    "verify_seconds": "<f4",
}
"""A step's columns: its index in the case; nodes drafted; depth of the draft; drafted tokens kept;
tokens added to the output after stop and length truncation; position of the root in the sequence
(prompt included, from 0); seconds spent drafting and verifying."""

NODE_COLUMNS: dict[str, str] = {
    "step": "<i4",
    "node": "<i4",
    "parent": "<i4",
    "depth": "<i2",
    "sibling_rank": "<i2",
    "position": "<i4",
    "token_id": "<i4",
    "target_probability": "<f4",
    "draft_probability": "<f4",
    "acceptance_probability": "<f4",
    "overlap": "<f4",
    "target_entropy": "<f4",
    "draft_entropy": "<f4",
    "target_rank": "<i4",
    "draft_rank": "<i4",
    "reached": "|b1",
    "accepted": "|b1",
}
"""A node's columns: step in the case; index in the draft and its parent's (−1: the root); depth;
order among siblings; position in the sequence; token; its probability under the target (p) and
the draft model (q), after the run's temperature and filters, or of the unscaled softmax at
temperature 0; min(1, p/q); the overlap Σ min(p, q) of the two distributions it was chosen from,
the same for siblings; their entropies in nats; how many tokens come before it under each (rank
0: the argmax); whether the rule looked at it, and kept it. What a drafter without a model cannot
know is NaN (rank −1)."""


ADDED_COLUMNS = frozenset({"overlap"})
"""Columns that schema version 1 lacks; NaN where it is read."""


STEPS = "steps"
"""Counters are of all steps, and of nothing else."""
INNER_STEPS = "inner steps"
"""Neither the first token of an output nor its last step is counted."""
CHUNKS = "chunks"
"""What streams out in one piece is counted, the output's first token among it."""


class Verdict(StrEnum):
    """What comparing a case's two outputs showed."""

    IDENTICAL = "identical"
    """The outputs are equal, token for token, and ended for the same reason."""
    NUMERICAL = "numerical"
    """They part at near-ties alone, as the target's own rounding explains."""
    ALGORITHMIC = "algorithmic"
    """They part where rounding cannot be the reason: speculation changed the output."""
    SAMPLED = "sampled"
    """Drawn at a temperature above 0, where equal outputs are not to be expected."""
    UNJUDGED = "not judged"
    """Another tool's result: nothing was compared with it."""
    ERROR = "error"
    """The case ended in an error; nothing was measured."""

    @classmethod
    def _missing_(cls, value: object) -> Verdict | None:
        """The verdict of schema version 1 that failed a case."""
        return cls.ALGORITHMIC if value == "different" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedOutput:
    """One output of a case.

    Attributes:
        token_ids: Committed tokens after the prompt; empty where `ids_told` is false.
        stop_reason: ``stop_token``, ``stop_string`` or ``length``; empty where it is not told.
        seconds: Wall time from the reset to the last token, prefill included; NaN where it is not
            told.
        untold_seconds: Wall time of the engine's call, as seen from outside, that is neither in
            `seconds` nor said to have gone into watching: what the engine's own clock leaves out.
            Negative where `seconds` are more than the call took. None where it was not measured.
        engine: Name of the engine that decoded it; empty where it is not known.
        arrivals: Of each piece of an answer that came piece by piece and brought tokens: the
            seconds since the request was sent, and how many tokens. None where it came whole.
        server_seconds: How long the server says that it took; None where it does not.
        ids_told: Whether the token ids are known; not of a result that another tool saved.
        told_length: How many tokens it has, where `ids_told` is false and that is told.
    """

    token_ids: tuple[int, ...]
    stop_reason: str
    seconds: float
    untold_seconds: float | None = None
    engine: str = ""
    arrivals: Arrivals | None = None
    server_seconds: ServerSeconds | None = None
    ids_told: bool = True
    told_length: int | None = None

    @property
    def by_text(self) -> bool:
        """Whether a stop string ended it, or may have."""
        return self.stop_reason in ("stop_string", "")

    @property
    def length(self) -> int | None:
        """How many tokens it has; None where that is not told."""
        return len(self.token_ids) if self.ids_told else self.told_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A place of a greedy output where another token than the target's own was emitted.

    Attributes:
        index: Index in the output.
        token_id: The emitted token.
        target_token_id: The target's own choice after the same tokens.
        margin: By how much the target's logit of its own choice is larger, from one forward pass
            over the whole output.
        width: Tokens that were scored in one block when the token was emitted.
        spread: How far the target alone varies with the width of its blocks, there or, where that
            explains nothing, anywhere in the output: the largest difference of a logit among the
            most probable tokens.
        reproduced: Whether the target alone, without a drafter, also comes to the emitted token at
            one of these widths, or varies by enough to.
    """

    index: int
    token_id: int
    target_token_id: int
    margin: float
    width: int
    spread: float
    reproduced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What an engine's own counters say of one output; None is what it does not tell.

    Engines count different things under one name: vLLM and llama.cpp count the steps that had a
    draft, SGLang counts every step. What is counted must be said, since the one cannot be used for
    the other (``docs/metrics.md``, *Steps that are not told*).

    Attributes:
        drafted: Tokens proposed and verified; None of tools that tell what was kept alone.
        accepted: Of these, the ones kept; engines differ in whether those count that a stop token
            or the length limit then cut off.
        steps: Target forward passes after prefill, with a draft or without one.
        drafted_steps: Those with a draft.
        longest_draft: The most drafted tokens that one step can keep: the depth of the largest
            draft.
        lengths: ``lengths[a]`` of the drafted steps (of the steps, where those are not told) kept
            ``a`` tokens.
        generated: Tokens that the server counts as generated while it was asked for this output
            alone; more than the output has were somebody else's.
        committed: Tokens that the steps added to the output; None where they are told by its
            length, of which `outputs` were not made by a step.
        outputs: How many outputs these are the counters of: the turns of a conversation, or the
            requests of a whole run, where they are told together.
        requests: How many requests they are of: more than 1 where a tool tells the sums over many
            prompts alone.
        counted: What `steps`, `lengths` and `committed` are of: one of `STEPS`, `INNER_STEPS` and
            `CHUNKS`.
    """

    drafted: int | None
    accepted: int
    steps: int | None = None
    drafted_steps: int | None = None
    longest_draft: int | None = None
    lengths: tuple[int, ...] | None = None
    generated: int | None = None
    committed: int | None = None
    outputs: int = 1
    requests: int = 1
    counted: str = STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """Everything measured on one prompt.

    Attributes:
        case_id: The prompt's stable id.
        domain: Its domain.
        prompt_tokens: Length of the prompt in tokens, chat template included; None where it is not
            told.
        verdict: What comparing the outputs showed.
        message: Why, where the verdict is `NUMERICAL`, `ALGORITHMIC` or `ERROR`; else empty.
        plain: The target's own output, or None after an error.
        speculative: The output of speculation, or None after an error.
        plain_verdict: What teacher-forcing the target's own greedy output showed, where the case is
            of the sample on which plain decoding itself is certified; else None.
        forks: Where the speculative output leaves what the target alone would have said.
        contradictions: Metric identities that do not hold of this case's counts.
        evidence: What the sampled tokens say for or against the target's law, as
            `draftproof.lossless.evidence.Evidence.to_json`. Kept in the journal; a finished report
            has the decision on all cases.
        control: The same of the plain output.
        steps: `STEP_COLUMNS`, each ``[steps]``.
        nodes: `NODE_COLUMNS`, each ``[nodes]``, ordered by step and node.
        draws: Number of random draws by purpose.
        counts: What the engine counted, of one that tells no steps; else None.
        token_texts: The text of token ids that occur in the outputs and the nodes; may be empty.
            A report keeps it once for all cases, in ``texts.json``.
        prompt_text: The prompt's text where it may be kept, else empty. Kept there too.
        plain_score: 1 if the plain output answers the prompt rightly, 0 if not; None if not scored.
        speculative_score: The same of the speculative output.
    """

    case_id: str
    domain: str
    prompt_tokens: int | None
    verdict: Verdict
    message: str = ""
    plain: DecodedOutput | None = None
    speculative: DecodedOutput | None = None
    plain_verdict: Verdict | None = None
    forks: tuple[Fork, ...] = ()
    contradictions: tuple[str, ...] = ()
    evidence: Mapping[str, Any] | None = None
    control: Mapping[str, Any] | None = None
    steps: Columns = field(default_factory=lambda: empty_columns(STEP_COLUMNS))
    nodes: Columns = field(default_factory=lambda: empty_columns(NODE_COLUMNS))
    draws: Mapping[str, int] = field(default_factory=dict)
    counts: Counts | None = None
    token_texts: Mapping[int, str] = field(default_factory=dict)
    prompt_text: str = ""
    plain_score: float | None = None
    speculative_score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, bit for bit; `from_json`'s inverse."""
        return {
            "case_id": self.case_id,
            "domain": self.domain,
            "prompt_tokens": self.prompt_tokens,
            "verdict": str(self.verdict),
            "message": self.message,
            "plain": _output_to_json(self.plain),
            "speculative": _output_to_json(self.speculative),
            "plain_verdict": None if self.plain_verdict is None else str(self.plain_verdict),
            "forks": [asdict(fork) for fork in self.forks],
            "contradictions": list(self.contradictions),
            "evidence": None if self.evidence is None else dict(self.evidence),
            "control": None if self.control is None else dict(self.control),
            "steps": _pack(self.steps, STEP_COLUMNS),
            "nodes": _pack(self.nodes, NODE_COLUMNS),
            "draws": dict(self.draws),
            "counts": None if self.counts is None else asdict(self.counts),
            "token_texts": {str(token): text for token, text in self.token_texts.items()},
            "prompt_text": self.prompt_text,
            "plain_score": self.plain_score,
            "speculative_score": self.speculative_score,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The record from JSON values.

        Raises:
            TraceError: A field is missing, or a column is not what the schema says.
        """
        try:
            return cls(
                case_id=values["case_id"],
                domain=values["domain"],
                prompt_tokens=values["prompt_tokens"],
                verdict=Verdict(values["verdict"]),
                message=values["message"],
                plain=_output_from_json(values["plain"]),
                speculative=_output_from_json(values["speculative"]),
                plain_verdict=verdict_from(values.get("plain_verdict")),
                forks=tuple(Fork(**fork) for fork in values.get("forks", ())),
                contradictions=tuple(values.get("contradictions", ())),
                evidence=values.get("evidence"),
                control=values.get("control"),
                steps=_unpack(values["steps"], STEP_COLUMNS),
                nodes=_unpack(values["nodes"], NODE_COLUMNS),
                draws=dict(values["draws"]),
                counts=counts_from(values.get("counts")),
                # Journals of runs that kept no text do not have these two.
                token_texts={int(k): text for k, text in values.get("token_texts", {}).items()},
                prompt_text=values.get("prompt_text", ""),
                plain_score=values.get("plain_score"),
                speculative_score=values.get("speculative_score"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(
                f"not a case record of schema version {SCHEMA_VERSION}: {error!r}"
            ) from error


def verdict_from(value: str | None) -> Verdict | None:
    """A verdict from its name; None from none."""
    return None if value is None else Verdict(value)


def counts_from(values: Mapping[str, Any] | None) -> Counts | None:
    """Counts from plain values, also those of schema version 2; None from none."""
    if values is None:
        return None
    if "drafted_steps" not in values:
        told = dict(values)
        steps = told.pop("steps")
        return Counts(**told, **{"drafted_steps" if steps <= told["drafted"] else "steps": steps})
    lengths = values["lengths"]
    return Counts(**{**values, "lengths": None if lengths is None else tuple(lengths)})


def empty_columns(schema: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The columns of a schema with no rows."""
    return {name: np.empty(0, dtype) for name, dtype in schema.items()}


def columns_from(schema: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns of the schema's types from sequences.

    Raises:
        TraceError: A column is missing or unknown, or the columns differ in length.
    """
    if set(values) != set(schema):
        raise TraceError(f"columns {sorted(values)} are not those of the schema: {sorted(schema)}")
    columns = {name: np.asarray(values[name], dtype) for name, dtype in schema.items()}
    if len({len(column) for column in columns.values()}) > 1:
        lengths = {name: len(column) for name, column in columns.items()}
        raise TraceError(f"columns differ in length: {lengths}")
    return columns


def _pack(columns: Columns, schema: Mapping[str, str]) -> dict[str, str]:
    return {
        name: base64.b64encode(np.ascontiguousarray(columns[name], dtype).tobytes()).decode()
        for name, dtype in schema.items()
    }


def _unpack(values: Mapping[str, str], schema: Mapping[str, str]) -> dict[str, np.ndarray]:
    decoded = {
        name: np.frombuffer(base64.b64decode(text, validate=True), schema[name])
        for name, text in values.items()
    }
    rows = len(next(iter(decoded.values()), ()))
    unknown = {name: np.full(rows, np.nan) for name in ADDED_COLUMNS & schema.keys()}
    return columns_from(schema, unknown | decoded)


def _output_to_json(output: DecodedOutput | None) -> dict[str, Any] | None:
    if output is None:
        return None
    return {
        "token_ids": list(output.token_ids) if output.ids_told else None,
        "stop_reason": output.stop_reason,
        "seconds": None if math.isnan(output.seconds) else output.seconds,
        "untold_seconds": output.untold_seconds,
        "engine": output.engine,
        **({} if output.arrivals is None else {"arrivals": [list(one) for one in output.arrivals]}),
        **_server_seconds_to_json(output.server_seconds),
        **({} if output.told_length is None else {"length": output.told_length}),
    }


def _output_from_json(values: Mapping[str, Any] | None) -> DecodedOutput | None:
    if values is None:
        return None
    token_ids, seconds = values["token_ids"], values["seconds"]
    return DecodedOutput(
        token_ids=tuple(token_ids or ()),
        stop_reason=values["stop_reason"],
        seconds=math.nan if seconds is None else seconds,
        untold_seconds=values.get("untold_seconds"),
        engine=values.get("engine", ""),
        arrivals=arrivals_from(values.get("arrivals")),
        server_seconds=server_seconds_from(values.get("server_seconds")),
        ids_told=token_ids is not None,
        told_length=values.get("length"),
    )


def _server_seconds_to_json(seconds: ServerSeconds | None) -> dict[str, Any]:
    if seconds is None:
        return {}
    return {"server_seconds": [None if math.isnan(each) else each for each in seconds]}


def server_seconds_from(stored: Sequence[float | None] | None) -> ServerSeconds | None:
    """What `DecodedOutput.server_seconds` are, from a pair as it is stored."""
    if stored is None:
        return None
    first, whole = (math.nan if each is None else float(each) for each in stored)
    return first, whole


def arrivals_from(pieces: Iterable[tuple[float, int]] | None) -> Arrivals | None:
    """What `DecodedOutput.arrivals` are, from pairs as they are stored."""
    if pieces is None:
        return None
    return tuple((float(seconds), int(tokens)) for seconds, tokens in pieces)
