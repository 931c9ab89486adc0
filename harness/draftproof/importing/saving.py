"""Another tool's results as the description of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from draftproof.environment import versions
from draftproof.importing.documents import ResultFile
from draftproof.importing.results import Format, Results
from draftproof.report.run_info import RunInfo
from draftproof.trace import STEPS


def imported_run(
    found: Format,
    files: Sequence[ResultFile],
    results: Results,
    *,
    name: str,
    command: Sequence[str] = (),
) -> RunInfo:
    """The description of a run that another tool measured.

    What the tool does not tell is left out: there are no settings, no hardware, and no versions but
    that of draftproof, which read the files.

    Args:
        found: The format of the files.
        files: The files.
        results: What they hold.
        name: What the run is called.
        command: The command line that read them, one word each.

    Returns:
        The description. Its `RunInfo.imported` has ``format`` and ``title`` of the tool; ``files``,
        each with ``name`` and ``sha256``; ``not_told``; ``pairing``, how two runs are compared;
        ``counted``, as in `draftproof.trace.Counts`; ``prompts`` by case id; and ``notes``.
    """
    models: dict[str, dict[str, Any]] = {
        "target": {"name": results.model or None},
        "engine": {"name": results.engine or None, "draft_length": results.draft_length},
    }
    told = {
        role: {key: value for key, value in facts.items() if value is not None}
        for role, facts in models.items()
    }
    counted = {case.counts.counted for case in results.cases if case.counts is not None}
    return RunInfo(
        name=name,
        started=results.started,
        config={},
        fingerprint=hashlib.sha256(
            "\n".join([found.name, *(file.sha256 for file in files)]).encode()
        ).hexdigest(),
        models={role: facts for role, facts in told.items() if facts},
        versions={key: value for key, value in versions().items() if key == "draftproof"},
        command=tuple(command),
        imported={
            "format": found.name,
            "title": found.title,
            "files": [{"name": file.path.name, "sha256": file.sha256} for file in files],
            "not_told": found.not_told,
            "pairing": found.pairing,
            "counted": next(iter(counted), STEPS),
            "prompts": dict(results.prompts),
            "notes": list(results.notes),
        },
    )
