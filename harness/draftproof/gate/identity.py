"""What must be the same of two runs for a change between them to mean a change of the engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from draftproof.differences import Mismatch, comparable, flat, known_differences
from draftproof.engines.names import AT_ONCE, EXECUTOR
from draftproof.environment import WORKERS
from draftproof.report.run_info import RunInfo
from draftproof.trace import STEPS

NOT_SETTINGS = frozenset(
    {
        "data_dir",
        "jsonl",
        "limit",
        "check_state",
        "tie_tolerance",
        "batch",
        "concurrency",
        "draw_log",
        "engine_timeout",
        "promises",
    }
)
"""Settings that do not move a case's figures: where the prompts lie, how many there are (cases are
compared one by one, and their texts by hash), whether state is verified on the way, how outputs are
judged, how many are decoded at once, which moves seconds alone, where draws are written, how long
an engine may take, and what was promised."""

VERSIONS = ("python", "torch", "transformers", "tokenizers", "numpy")
"""Libraries whose version can move a number. draftproof's own is not among them, nor is that of an
engine: they may be what has changed."""

MODEL_FACTS = ("sha256", "tokenizer_sha256", "architecture", "dtype", "device")
MACHINE = ("machine", "accelerators")
TIMING = ("cpu", "cpus", "torch_threads", WORKERS)


def mismatches(before: RunInfo, now: RunInfo) -> list[Mismatch]:
    """The facts in which two runs differ, of those that must be the same.

    A fact that one of the two does not record is not compared: before its models are loaded, a run
    has none of them.
    """
    return [
        *_settings(before, now),
        *known_differences(
            _model_facts(before),
            _model_facts(now),
        ),
        *known_differences(
            {f"version of {name}": _version(before, name) for name in VERSIONS},
            {f"version of {name}": _version(now, name) for name in VERSIONS},
        ),
        *known_differences(
            {name: before.hardware.get(name) for name in MACHINE},
            {name: now.hardware.get(name) for name in MACHINE},
        ),
        *known_differences(_imported(before), _imported(now)),
        *_prompts("facts", *(_imported_prompts(run) for run in (before, now))),
        *_prompts("text", before.prompts, now.prompts),
        *_prompts("token ids", before.prompt_tokens, now.prompt_tokens),
    ]


def described(run: RunInfo) -> dict[str, Any]:
    """Every recorded setting and fact of a run, named as in `Mismatch`."""
    return {
        **{f"setting {name}": value for name, value in flat(run.config)},
        **{
            f"{role} {fact}": value
            for role, facts in run.models.items()
            for fact, value in facts.items()
        },
        **{f"version of {name}": version for name, version in run.versions.items()},
        **run.hardware,
    }


def engine_facts(run: RunInfo) -> dict[str, str]:
    """What must be the same of two runs to stand in one line of a history, but for the prompts.

    The facts of `mismatches`, without the versions of libraries: an upgrade is among what a history
    is to show.
    """
    resolved = set(_decided_by_facts(run, run))
    settings = {
        f"setting {name}": value
        for name, value in flat(run.config)
        if name.split(".")[0] not in NOT_SETTINGS | resolved
    }
    facts = {**settings, **_model_facts(run), **{name: run.hardware.get(name) for name in MACHINE}}
    return {name: str(comparable(value)) for name, value in facts.items() if value is not None}


def timing_facts(run: RunInfo) -> dict[str, str]:
    """What must be the same of two machines for their seconds to stand in one line."""
    return {name: str(value) for name, value in _timing_facts(run).items() if value is not None}


def timing_mismatches(before: RunInfo, now: RunInfo) -> list[Mismatch]:
    """The facts of the two machines without which seconds cannot be compared."""
    return known_differences(_timing_facts(before), _timing_facts(now))


def _timing_facts(run: RunInfo) -> dict[str, Any]:
    engine = run.models.get("engine")
    return {
        **{name: run.hardware.get(name) for name in (*MACHINE, *TIMING)},
        AT_ONCE: None if engine is None else engine.get(AT_ONCE, 1),
        EXECUTOR: None if engine is None else engine.get(EXECUTOR),
    }


def _imported(run: RunInfo) -> dict[str, Any]:
    """What the counters are of: all steps, unless another tool leaves some out."""
    return {"what is counted": (run.imported or {}).get("counted", STEPS)}


def _imported_prompts(run: RunInfo) -> Mapping[str, str]:
    """What another tool tells of each prompt, by case id: its length in tokens, or a hash."""
    found: Mapping[str, str] = (run.imported or {}).get("prompts", {})
    return found


def _settings(before: RunInfo, now: RunInfo) -> list[Mismatch]:
    left_out = {*NOT_SETTINGS, *_decided_by_facts(before, now)}

    def settings(config: Mapping[str, Any]) -> dict[str, Any]:
        return {
            f"setting {name}": value
            for name, value in flat(config)
            if name.split(".")[0] not in left_out
        }

    return known_differences(settings(before.config), settings(now.config))


def _decided_by_facts(before: RunInfo, now: RunInfo) -> Iterator[str]:
    """Settings that only say where to look: what was loaded decides, once it is known.

    The same weights may lie in another folder, and ``auto`` may have come to the same type.
    """
    for role in ("target", "draft"):
        known = before.models.get(role, {}), now.models.get(role, {})
        if "sha256" in known[0] and (not known[1] or "sha256" in known[1]):
            yield role
    if all("dtype" in before.models.get(role, {}) for role in ("target", "draft")):
        yield from ("dtype", "device")


def _model_facts(run: RunInfo) -> dict[str, Any]:
    return {
        f"{role} {fact}": facts.get(fact)
        for role, facts in run.models.items()
        for fact in (*MODEL_FACTS, *(() if "sha256" in facts else ("name",)))
    }


def _version(run: RunInfo, name: str) -> str | None:
    version = run.versions.get(name)
    if version is None or name != "python":
        return version
    # Patch releases of Python do not move numbers.
    return ".".join(version.split(".")[:2])


def _prompts(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[Mismatch]:
    changed = sorted(
        case_id for case_id in before if now.get(case_id) not in (None, before[case_id])
    )
    if not changed:
        return []
    first = changed[0]
    more = f" (and {len(changed) - 1} more prompts)" if len(changed) > 1 else ""
    return [Mismatch(f"{what} of prompt {first}{more}", before[first], now[first])]
