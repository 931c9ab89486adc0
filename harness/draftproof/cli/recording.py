"""``draftproof record``: the target's trajectories, and how draft models see them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from draftproof.cli.result import say
from draftproof.cli.run_options import add_run_options, given_values, prompts_of
from draftproof.config import BUILTIN, RunConfig
from draftproof.data import Prompt
from draftproof.errors import DataError, ModelError, UsageError
from draftproof.files import require_folder
from draftproof.folder_lock import FolderLock
from draftproof.replay.costs import COSTS_FILE
from draftproof.replay.storage import bytes_a_token
from draftproof.trace import Verdict
from draftproof.wording import counted

WITHOUT_MODEL = ("lookup", "none")
"""Drafters that need no recording: what they propose follows from the tokens alone."""

_DESCRIPTION = """\
Decodes every prompt with the target alone and keeps, for each token, the target's log-probability
and each draft model's most probable tokens. That decides what any chain, k-ary or static tree would
have kept, without a model: `draftproof replay` and `draftproof advise` read it. A stopped recording
goes on where it was, with the same command. It ends with a measurement of both models' forward
passes, on an otherwise idle machine. `draftproof docs advise` leads through it.
An option that pytest has too may be written as there: --spec-target for --target.
"""

_OF_PROMPTS = (
    "spec_limit",
    "spec_prompts",
    "spec_data",
    "spec_jsonl",
    "spec_columns",
    "spec_turns",
)
"""Options that choose prompts, and do nothing beside texts that have theirs."""

_OPTIONS = (
    "spec_target",
    "spec_dtype",
    "spec_device",
    "spec_trust_remote_code",
    "spec_temperature",
    "spec_top_k",
    "spec_top_p",
    "spec_min_p",
    *_OF_PROMPTS,
    "spec_max_new_tokens",
    "spec_seed",
    "spec_batch",
)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof record``."""
    parser = commands.add_parser(
        "record",
        help="record what a target says and how draft models see it, for replay and advise",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser, _OPTIONS)
    add = parser.add_argument
    add(
        "--drafts",
        metavar="NAMES",
        default=BUILTIN,
        help="draft models, separated by commas (default: %(default)s); lookup and none need no "
        "recording",
    )
    add("--out", metavar="DIR", type=Path, required=True, help="folder of the recording")
    add("--k", type=int, default=16, help="tokens to keep of each position (default: %(default)s)")
    add(
        "--overrun",
        type=int,
        default=8,
        help="tokens to record after the end of an output, into which the last draft may reach "
        "(default: %(default)s)",
    )
    add(
        "--rollout",
        type=int,
        default=8,
        help="tokens of each draft model's own chain to look at from every position, for chains "
        "that end early; at temperature 0 (default: %(default)s)",
    )
    add(
        "--from",
        dest="source",
        metavar="REPORT",
        type=Path,
        help="take settings, prompts and plain outputs from a finished run",
    )
    add(
        "--texts",
        metavar="FILE",
        type=Path,
        help="record along texts of another origin (JSON lines with prompt and output); what "
        "follows is labelled off-policy",
    )
    add("--no-costs", action="store_true", help="leave the measurement of forward passes out")


@contextmanager
def _own_words() -> Iterator[None]:
    """Errors name options as this command has them.

    Raises:
        DraftproofError: As was raised.
    """

    def own(match: re.Match[str]) -> str:
        if match[0] == "--spec-draft":
            return "--drafts"
        name = match[0].removeprefix("--").replace("-", "_")
        return f"--{match[1]}" if name in _OPTIONS else match[0]

    try:
        yield
    except (UsageError, ModelError, DataError) as error:
        raise type(error)(re.sub(r"--spec-([a-z-]+)", own, str(error))) from error


def record(arguments: argparse.Namespace) -> str:
    """Make or go on with a recording, and say what it holds.

    Raises:
        DraftproofError: A setting cannot be used, a model not be loaded, or a file not be written.
    """
    drafts = model_names(arguments.drafts)
    if arguments.k < 1 or arguments.overrun < 0 or arguments.rollout < 0:
        raise UsageError("--k is at least 1, --overrun and --rollout at least 0")
    if arguments.source is not None and arguments.texts is not None:
        raise UsageError("--from and --texts both say where outputs come from; give one of them")
    require_folder(arguments.out, "--out")
    with _own_words(), closing(FolderLock(arguments.out, "--out")) as lock:
        if lock.note:
            say(lock.note)
        return _recorded(arguments, drafts)


def _recorded(arguments: argparse.Namespace, drafts: tuple[str, ...]) -> str:
    config, outputs, taken = _settings(arguments)

    from draftproof.replay.making import RecordingPlan, load_models, make_recording
    from draftproof.replay.off_policy import read_texts

    texts = None if arguments.texts is None else read_texts(arguments.texts)
    plan = RecordingPlan(
        config=config,
        drafts=drafts,
        prompts=() if texts is not None else [each for each in prompts_of(config) if taken(each)],
        k=arguments.k,
        overrun=arguments.overrun,
        rollout=arguments.rollout,
        outputs=outputs,
        texts=texts,
    )
    models = load_models(config, drafts, say)
    recording = make_recording(plan, arguments.out, models, say)
    lines = [_summary(arguments.out, recording)]
    if not arguments.no_costs:
        from draftproof.replay.timing import measure_costs

        costs = measure_costs(models, config, _spread(prompts_of(config)), say)
        costs.save(arguments.out / COSTS_FILE)
        lines.append(f"Costs: {arguments.out / COSTS_FILE}")
        lines += costs.lines()
    return "\n".join(lines)


def model_names(text: str) -> tuple[str, ...]:
    """The draft models of a list of names, without the drafters that have none.

    Raises:
        UsageError: There is none.
    """
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    found = tuple(name for name in names if name not in WITHOUT_MODEL)
    if not found:
        raise UsageError(
            f"--drafts {text}: name a draft model; {' and '.join(WITHOUT_MODEL)} need no recording"
        )
    return found


def _spread(prompts: list[Prompt], count: int = 6) -> list[Prompt]:
    """Some prompts from all over a list."""
    return prompts[:: max(1, len(prompts) // count)][:count]


def _settings(
    arguments: argparse.Namespace,
) -> tuple[RunConfig, Mapping[str, tuple[tuple[int, ...], str]] | None, Callable[[Prompt], bool]]:
    """The settings, the plain outputs of a finished run where one is named, and its prompts.

    Of the prompts that the settings name, a run may have had some: those of one suite, say.
    """
    from draftproof.plugin.settings import settings_of

    values = given_values(arguments, _OPTIONS)
    of_prompts = [name for name in _OF_PROMPTS if values[name] is not None]
    if arguments.texts is not None and of_prompts:
        raise UsageError(
            "--texts has the prompts, too; leave "
            f"--{of_prompts[0].removeprefix('spec_').replace('_', '-')} out"
        )
    if arguments.source is None:
        return settings_of(values), None, lambda prompt: True
    typed = [name for name, value in values.items() if value is not None]
    if typed:
        raise UsageError(
            "--from takes every setting from the run; leave "
            f"--{typed[0].removeprefix('spec_').replace('_', '-')} out"
        )
    from draftproof.report import load_run

    saved = load_run(arguments.source)
    config = RunConfig.from_json(dict(saved.run.config))
    outputs = {
        case.case_id: (case.plain.token_ids, case.plain.stop_reason)
        for case in saved.cases
        if case.plain is not None and case.verdict is not Verdict.ERROR
    }
    if not outputs:
        raise UsageError(f"--from {arguments.source}: no case of that run has a plain output")
    ran = {case.case_id for case in saved.cases}
    config = replace(config, engine="reference", engine_options=(), batch=1)
    return config, outputs, lambda prompt: prompt.prompt_id in ran


def _summary(folder: Path, recording: Any) -> str:
    tokens = sum(case.committed for case in recording.cases)
    size = bytes_a_token(folder, recording)
    drafts = counted(len(recording.info.drafts), "draft model")
    kept = f"{counted(recording.info.k, 'token')} a position of {drafts}"
    label = f" ({recording.info.off_policy})" if recording.info.off_policy else ""
    return (
        f"Recording: {folder}{label}\n{counted(len(recording.cases), 'prompt')}, "
        f"{counted(tokens, 'token')}; {kept}; "
        f"{size:.0f} bytes a token on disk"
    )
