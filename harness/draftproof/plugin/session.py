"""What happens when a test session is configured, starts and collects."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from draftproof.budget import NO_MODEL, blamed_on_budget
from draftproof.config import BUILTIN, NO_DRAFT, RunConfig
from draftproof.engines.names import BUILT_IN, PROBE, REFERENCE, engine_names
from draftproof.errors import UsageError, printable, unknown_value
from draftproof.laws import labelled
from draftproof.plugin.collection import (
    check_real_data,
    drop_suites_without_prompts,
    no_prompts,
)
from draftproof.plugin.executing import check_executor
from draftproof.plugin.guest import is_worker, worker_count
from draftproof.plugin.handing_over import HandsOverPrompts
from draftproof.plugin.idle_options import option_notes
from draftproof.plugin.options import given
from draftproof.plugin.progress import print_line
from draftproof.plugin.refusing import usage_errors
from draftproof.plugin.settings import run_config
from draftproof.plugin.state import AGAINST, FINISHED, NOTES, PROBLEM, REPORTER, RUN_CONFIG
from draftproof.plugin.supervising import note_end


def configure(config: pytest.Config) -> None:
    """Check every option before anything is collected or loaded.

    Raises:
        pytest.UsageError: An option cannot be used.
    """
    with usage_errors():
        settings = run_config(config)
        _check_models(settings)
        _check_engine(settings)
        _check_batch(config, settings)
        if not is_worker(config):
            note_end(config)
        config.stash[RUN_CONFIG] = settings
        notes = _configure_report(config, settings)
        if AGAINST in config.stash:
            _check_engine(config.stash[AGAINST])
        check_executor(config, settings)
        config.stash[NOTES] = (*notes, *option_notes(config, settings))
    if is_worker(config):
        _share_threads(worker_count(config))
        _share_gpus(worker_count(config), settings)


def configured(config: pytest.Config) -> RunConfig:
    """The run's settings: the usual ones where no option was given before a suite asked for any."""
    if RUN_CONFIG not in config.stash:
        configure(config)
    return config.stash[RUN_CONFIG]


def header(config: pytest.Config) -> list[str]:
    """The run's settings, for the head of a reporting session; and which options do nothing."""
    notes: tuple[str, ...] = config.stash[NOTES]
    lines = list(notes)
    if given(config, "report"):
        lines.insert(0, _settings_line(config.stash[RUN_CONFIG]))
    return [printable(f"draftproof: {line}") for line in lines]


def _settings_line(settings: RunConfig) -> str:
    decoding = f"engine {settings.engine}"
    if settings.concurrency > 1:
        decoding += f", {settings.concurrency} requests in flight"
    if settings.batch != 1:
        decoding += f", {settings.batch or 'as many prompts as fit'} at once"
    if settings.engine in (REFERENCE, PROBE):
        tree = "by domain" if settings.budget else str(settings.tree)
        drafts = f"tree {tree}" if settings.drafter is None else f"drafter {settings.drafter}"
        decoding += f", {drafts}, rule {labelled(settings.rule)}"
    draft = "by domain" if settings.budget else settings.draft
    return (
        f"{decoding}, target {settings.target}, draft {draft}, temperature "
        f"{settings.sampling.temperature:g}, prompts {settings.prompts}, seed {settings.seed}"
    )


def start(session: pytest.Session) -> None:
    """Say what options do nothing; find problems with data before workers of pytest-xdist start.

    Raises:
        pytest.UsageError: A data set cannot be loaded.
    """
    config = session.config
    if config.get_verbosity() < 0 and not is_worker(config):
        notes: tuple[str, ...] = config.stash[NOTES]
        _print(config, notes)  # without a head of the session
    distributed = bool(getattr(config.option, "numprocesses", None))
    if distributed and not is_worker(config) and config.stash[RUN_CONFIG].prompts != BUILTIN:
        with usage_errors():
            check_real_data(config)
        config.pluginmanager.register(HandsOverPrompts(), "draftproof-hands-over-prompts")


def check_prompts(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop suites of domains without a prompt; end the session where prompts cannot be loaded.

    Raises:
        pytest.UsageError: Says which and why; or that no suite has a prompt.
    """
    if drop_suites_without_prompts(items) and not items:
        config.stash.setdefault(PROBLEM, no_prompts(config))
    if problem := config.stash.get(PROBLEM, None):
        raise pytest.UsageError(problem)


def _check_models(settings: RunConfig) -> None:
    from draftproof.models.source import model_source

    if settings.target != BUILTIN:
        model_source(settings.target, "target")
    if settings.draft not in (BUILTIN, NO_DRAFT):
        model_source(settings.draft, "draft")
    for domain, draft, _ in settings.budget:
        if draft not in (BUILTIN, *NO_MODEL):
            with blamed_on_budget(domain):
                model_source(draft, "draft")


def _check_engine(settings: RunConfig) -> None:
    """Find what is wrong with an engine's name and options; imports it, if it is not our own."""
    name = settings.engine
    if name == REFERENCE:
        return
    if ":" not in name and name not in BUILT_IN and name not in engine_names():
        raise unknown_value("--spec-engine", name, engine_names())
    from draftproof.engines.registry import check_engine

    check_engine(settings)


def _check_batch(config: pytest.Config, settings: RunConfig) -> None:
    """Refuse batches where the tests are shared out to several processes one by one.

    Raises:
        UsageError: No process knows which prompts will be its own.
    """
    workers = worker_count(config)
    asked = "--spec-concurrency" if settings.concurrency > 1 else "--spec-batch"
    if (settings.batch != 1 or settings.concurrency > 1) and workers > 1:
        raise UsageError(
            f"{asked}: {workers} workers of pytest-xdist are handed their prompts one by one, "
            f"and cannot decode together what they do not have yet; leave out -n, or {asked}"
        )


def _configure_report(config: pytest.Config, settings: RunConfig) -> list[str]:
    """Make ready for the report, where one is asked for; returns notes for the session's head."""
    from draftproof.plugin.gating import against_settings, gate_options

    against = against_settings(config, settings)
    if against is not None:
        config.stash[AGAINST] = against
    if not given(config, "report"):
        gate_options(config, settings)
        return []
    from draftproof.plugin.reporter import make_reporter
    from draftproof.plugin.resuming import unfinished

    folder = given(config, "report_dir")
    notes = [] if folder is None else _lock(config, Path(folder))
    earlier = unfinished(config, settings)
    config.stash[FINISHED] = {} if earlier is None else dict(earlier.cases)
    if not is_worker(config):
        reporter = make_reporter(config, settings, earlier)
        config.pluginmanager.register(reporter, REPORTER)
        if folder is None:
            notes = _lock(config, reporter.directory)
    return notes


def _lock(config: pytest.Config, folder: Path) -> list[str]:
    """Keep other runs out of a report folder while this one lasts, and say where that cannot be.

    Raises:
        UsageError: Another run is going on there, or no report can be written there.
    """
    from draftproof.folder_lock import FolderLock
    from draftproof.report import require_folder

    if is_worker(config):
        return []  # it belongs to the run of its controller, which has the lock
    require_folder(folder)
    if config.option.help or config.option.collectonly:
        return []
    lock = FolderLock(folder.absolute())  # an engine may go elsewhere
    config.add_cleanup(lock.close)
    return [lock.note] if lock.note else []


def _print(config: pytest.Config, lines: Iterable[str]) -> None:
    for line in lines:
        print_line(config, line)


def _share_threads(workers: int) -> None:
    """Split the processor's cores between the workers of pytest-xdist."""
    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers
        os.environ["OMP_NUM_THREADS"] = str(max(1, cores // workers))


def _share_gpus(workers: int, settings: RunConfig) -> None:
    """Give each worker of pytest-xdist a GPU of its own, as far as there are enough.

    It sees no other, so that all of them describe their models alike. Settings that name places
    are left as they are.
    """
    names_none = settings.device in ("auto", "cuda") and settings.draft_device in (None, "cuda")
    gpus = _visible_gpus()
    if workers > 1 and len(gpus) > 1 and names_none:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def _visible_gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, without loading a library that would take one."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip()]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
