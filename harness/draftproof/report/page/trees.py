"""The data of the tree viewer: cases, steps and nodes as one compressed block of columns.

Layout of the block, before gzip: the length of the header (uint32), the header (JSON, UTF-8, padded
with spaces to a multiple of 4), then the columns one after another, little-endian. The header names
each column with its type and its number of rows. Probabilities are stored in 1/10,000 and entropies
in nats/1,000, as `UNKNOWN` where there is none: what the viewer shows, not what figures are from.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from draftproof.column_slices import length_of
from draftproof.report.page.failures import fork_steps
from draftproof.report.texts import Texts
from draftproof.statistics import in_domain_order
from draftproof.trace import CaseRecord, Verdict

VIEWER_NODES = 160_000
"""Most nodes in a page, so that it stays below 5 MB."""

SHOWN_PROMPT = 1200
"""Characters of a prompt, from its end."""

UNKNOWN = 65_535
_PROBABILITY, _ENTROPY = 10_000, 1_000

STEP_FIELDS = {"nodes": "<u2", "accepted_length": "<u2", "committed_tokens": "<u2"}
NODE_FIELDS = {
    "parent": "<i2",
    "token": "<i4",
    "target_probability": "<u2",
    "draft_probability": "<u2",
    "acceptance_probability": "<u2",
    "target_entropy": "<u2",
    "draft_entropy": "<u2",
    "target_rank": "<u2",
    "flags": "<u1",
}
"""A node's columns; ``token`` is an index into the header's tokens, ``flags`` is 1 for reached and
2 for accepted."""


def viewer_block(cases: Sequence[CaseRecord], texts: Texts) -> bytes:
    """The compressed block of the cases that the viewer shows.

    Args:
        cases: The records of the run.
        texts: The text of its tokens, as far as it was kept.

    Returns:
        gzip data, the same for the same records.
    """
    shown = shown_cases(cases)
    steps = {name: _joined(shown, "steps", name, dtype) for name, dtype in STEP_FIELDS.items()}
    outputs = [_output(case) for case in shown]
    drafted = _joined(shown, "nodes", "token_id", "<i4")
    token_ids, index = np.unique(
        np.concatenate([drafted, *outputs]).astype(np.int64), return_inverse=True
    )
    nodes = _node_columns(shown, index[: len(drafted)])
    columns = {
        **{f"step.{name}": column for name, column in steps.items()},
        **{f"node.{name}": column for name, column in nodes.items()},
        "output": index[len(drafted) :].astype("<i4"),
    }
    header = {
        "cases": [
            _described(case, output, texts) for case, output in zip(shown, outputs, strict=True)
        ],
        "total": sum(_has_trees(case) for case in cases),
        "ids": token_ids.tolist(),
        "tokens": [texts.tokens.get(token) for token in token_ids.tolist()],
        "columns": [
            {"name": name, "type": column.dtype.str[1:], "rows": len(column)}
            for name, column in columns.items()
        ],
    }
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 4)
    raw = np.uint32(len(text)).astype("<u4").tobytes() + text
    raw += b"".join(column.tobytes() for column in columns.values())
    return gzip.compress(raw, 9, mtime=0)


def shown_cases(cases: Sequence[CaseRecord], limit: int = VIEWER_NODES) -> list[CaseRecord]:
    """The cases whose trees the viewer shows, by domain and id.

    All of them, unless they have more than `limit` nodes together: then those whose outputs differ
    come first, and the domains take turns.
    """
    with_trees = sorted(filter(_has_trees, cases), key=lambda case: case.case_id)
    turns: list[CaseRecord] = [c for c in with_trees if _differs(c)]
    domains = in_domain_order(case.domain for case in with_trees)
    rest = [[c for c in with_trees if c.domain == domain and not _differs(c)] for domain in domains]
    turns += [case for turn in zip_longest(*rest) for case in turn if case is not None]
    kept, nodes = [], 0
    for case in turns:
        if nodes + length_of(case.nodes) <= limit:
            kept.append(case)
            nodes += length_of(case.nodes)
    return sorted(kept, key=lambda case: (domains.index(case.domain), case.case_id))


def _has_trees(case: CaseRecord) -> bool:
    """Whether every node of its steps was recorded: not all engines tell them."""
    nodes = length_of(case.nodes)
    return case.speculative is not None and nodes == int(case.steps["nodes"].sum()) > 0


def _differs(case: CaseRecord) -> bool:
    return case.verdict not in (Verdict.IDENTICAL, Verdict.SAMPLED, Verdict.UNJUDGED)


def _output(case: CaseRecord) -> np.ndarray:
    return np.array(case.speculative.token_ids if case.speculative else (), np.int64)


def _described(case: CaseRecord, output: np.ndarray, texts: Texts) -> Mapping[str, Any]:
    prompt = texts.prompts.get(case.case_id, "")
    return {
        "id": case.case_id,
        "domain": case.domain,
        "verdict": str(case.verdict),
        "message": case.message,
        "forks": fork_steps(case),
        "prompt": prompt[-SHOWN_PROMPT:],
        "cut": len(prompt) > SHOWN_PROMPT,
        "promptTokens": case.prompt_tokens,
        "stop": case.speculative.stop_reason if case.speculative else "",
        "steps": length_of(case.steps),
        "nodes": length_of(case.nodes),
        "tokens": len(output),
    }


def _node_columns(cases: Sequence[CaseRecord], tokens: np.ndarray) -> dict[str, np.ndarray]:
    def column(name: str) -> np.ndarray:
        return _joined(cases, "nodes", name, "<f8")

    values = {
        "parent": column("parent"),
        "token": tokens,
        "flags": column("reached") + 2 * column("accepted"),
        "target_rank": np.where(
            column("target_rank") < 0, UNKNOWN, np.minimum(column("target_rank"), UNKNOWN - 1)
        ),
    }
    for name in ("target_probability", "draft_probability", "acceptance_probability"):
        values[name] = _scaled(column(name), _PROBABILITY)
    for name in ("target_entropy", "draft_entropy"):
        values[name] = _scaled(column(name), _ENTROPY)
    return {name: values[name].astype(dtype) for name, dtype in NODE_FIELDS.items()}


def _scaled(values: np.ndarray, unit: int) -> np.ndarray:
    known = np.isfinite(values)
    scaled = np.rint(np.where(known, values, 0) * unit)
    return np.where(known, np.clip(scaled, 0, UNKNOWN - 1), UNKNOWN)


def _joined(cases: Sequence[CaseRecord], what: str, name: str, dtype: str) -> np.ndarray:
    columns = [getattr(case, what)[name] for case in cases]
    return np.concatenate([np.empty(0), *columns]).astype(dtype)
