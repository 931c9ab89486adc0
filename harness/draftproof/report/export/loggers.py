"""A report in an experiment tracker: MLflow or Weights & Biases, through their own clients."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from draftproof.errors import UsageError
from draftproof.report.export.tables import all_tables
from draftproof.report.page.source import PageSource

FILES = ("summary.md", "metrics.json", "run.json", "report.html", "comparison.json")
"""Files of a report that are logged with it, where they are there."""
_MOST_TEXT = 500


def figures(source: PageSource) -> dict[str, float]:
    """Every figure of a run by ``DOMAIN/FIGURE``, with ``.low`` and ``.high``, and the verdicts."""
    found: dict[str, float] = {"complete": float(source.complete)}
    for table in all_tables(source):
        for row in table.as_objects():
            if table.name == "figures":
                key = f"{row['domain']}/{row['figure']}"
                for suffix, end in (("", "value"), (".low", "low"), (".high", "high")):
                    if isinstance(row[end], int | float):
                        found[key + suffix] = float(row[end] or 0)
            elif table.name == "verdicts":
                found[f"{row['domain']}/cases.{row['verdict']}"] = float(row["cases"] or 0)
    return found


def settings(source: PageSource) -> dict[str, str]:
    """What a run was, as short texts: settings, models, versions, hardware."""
    run = source.run
    parts: dict[str, Mapping[str, Any]] = {
        "setting": run.config,
        "version": run.versions,
        "hardware": run.hardware,
        **run.models,
    }
    told = {
        f"{part}.{name}": str(value) for part, own in parts.items() for name, value in own.items()
    }
    return {
        "fingerprint": run.fingerprint,
        "started": run.started,
        **{name: text[:_MOST_TEXT] for name, text in told.items()},
    }


def log_to_mlflow(source: PageSource, directory: Path, experiment: str, mlflow: Any = None) -> str:
    """Log a report as a run of an MLflow experiment, where ``MLFLOW_TRACKING_URI`` says.

    Args:
        source: The run and its figures.
        directory: The report's folder.
        experiment: Name of the experiment.
        mlflow: The client's module; imported by default.

    Returns:
        The id of MLflow's run.

    Raises:
        UsageError: MLflow is not installed.
    """
    client = mlflow or _module("mlflow", "mlflow")
    client.set_experiment(experiment)
    with client.start_run(run_name=source.run.name) as run:
        client.log_params({_key(name): text for name, text in settings(source).items()})
        client.log_metrics({_key(name): value for name, value in figures(source).items()})
        client.set_tags({"draftproof.complete": str(source.complete).lower()})
        for path in _files(directory):
            client.log_artifact(str(path), "draftproof")
        return str(run.info.run_id)


def log_to_wandb(source: PageSource, directory: Path, project: str, wandb: Any = None) -> str:
    """Log a report as a run of a Weights & Biases project; ``WANDB_MODE=offline`` sends nothing.

    Args:
        source: The run and its figures.
        directory: The report's folder.
        project: Name of the project.
        wandb: The client's module; imported by default.

    Returns:
        The id of the run there.

    Raises:
        UsageError: The client is not installed.
    """
    client = wandb or _module("wandb", "wandb")
    run = client.init(
        project=project, name=source.run.name, config=settings(source), job_type="draftproof"
    )
    try:
        run.summary.update(figures(source))
        for table in all_tables(source):
            if not table.name.startswith("chart-"):
                rows = [list(row) for row in table.rows]
                run.log({table.name: client.Table(columns=list(table.columns), data=rows)})
        kept = client.Artifact(f"draftproof-{source.run.fingerprint or 'report'}", type="report")
        for path in _files(directory):
            kept.add_file(str(path))
        run.log_artifact(kept)
        return str(run.id)
    finally:
        run.finish()


def _files(directory: Path) -> Iterator[Path]:
    yield from (directory / name for name in FILES if (directory / name).is_file())


def _key(name: str) -> str:
    """A name of what MLflow takes: other characters by their number, so that no two are one."""
    return re.sub(r"[^\w./: -]", lambda found: f"_x{ord(found[0]):x}_", name, flags=re.ASCII)[:250]


def _module(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"--{extra}: {name} cannot be imported ({error}); pip install 'draftproof[{extra}]'"
        ) from error
