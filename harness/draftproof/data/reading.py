"""The one place that calls the `datasets` library: rows from the hub, the web or a local file.

Whatever goes wrong in there leaves as a `DataError` of one line. No data set runs code of its
own: releases of `datasets` that could are refused.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import logging
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from draftproof.data.record import Row
from draftproof.data.unpacking import require_size
from draftproof.errors import DataError
from draftproof.paths import is_file, is_folder

OLDEST_MAJOR_RELEASE = 4
"""The first major release of `datasets` that cannot run a script shipped with a data set."""

_SUFFIXES = (".json", ".jsonl", ".gz", ".parquet")
_REVISION_IN_URL = re.compile(r"@([0-9a-f]{40})/")


def read_local(path: Path, *, split: str, field: str | None = None) -> list[Row]:
    """All rows of a Parquet, JSON or JSON Lines file, the last two perhaps compressed with gzip.

    The library's cache goes to a temporary folder and away again: reading works without
    network and home folder, and never returns rows of an older version of the file.

    Args:
        path: An existing file.
        split: The name of the split that the file holds.
        field: The key of the list of rows, where the file is one JSON object.

    Raises:
        DataError: The file is empty or corrupt, or cannot be read.
    """
    datasets = _datasets()
    require_size(path, is_one_value=field is not None)
    try:
        with tempfile.TemporaryDirectory(
            prefix="draftproof-", ignore_cleanup_errors=True
        ) as folder:
            # The library takes a path for a pattern: [, *, ? and :: in a folder's name would
            # find no file, or others. A copy has a harmless name.
            suffixes = [suffix for suffix in path.suffixes[-2:] if suffix in _SUFFIXES]
            copy = Path(folder, "rows" + "".join(suffixes))
            shutil.copyfile(path, copy)
            options: dict[str, Any] = {
                "split": split,
                "cache_dir": str(Path(folder, "cache")),
                "keep_in_memory": True,
            }
            with _quiet(datasets):
                # Not load_dataset("json"): it counts the use of its JSON reader over the
                # network, and waits for that where packets are dropped.
                if path.suffix == ".parquet":
                    return list(datasets.Dataset.from_parquet(str(copy), **options))
                return list(datasets.Dataset.from_json(str(copy), field=field, **options))
    except Exception as error:  # the library and its parsers raise a dozen unrelated types
        reason = _what_is_wrong(path, field) or f"cannot be read ({_cause(error)})"
        raise DataError(f"{path}: {reason}") from error


def read_hub(
    hub_id: str, *, name: str | None, split: str, revision: str | None
) -> tuple[list[Row], str | None]:
    """All rows of one split on the hub, or of the library's cache where it has them.

    Args:
        hub_id: The repository, for example ``openai/gsm8k``.
        name: The configuration; None for the only one.
        split: The split.
        revision: The commit, tag or branch; None for the current state.

    Returns:
        The rows, and the commit that they are of; None if the library does not say.

    Raises:
        DataError: The hub is out of reach and the cache does not hold the data set, or the
            hub has no such data set.
    """
    datasets = _datasets()
    if is_file(hub_id) or is_folder(hub_id):
        raise DataError(
            f"{Path(hub_id).resolve()} would be read in place of {hub_id} on the hub; "
            "run from another folder"
        )
    try:
        with _quiet(datasets):
            found = datasets.load_dataset(hub_id, name, split=split, revision=revision)
            rows = list(found)
    except Exception as error:  # network, hub, cache and format: each has its own types
        label = hub_id if name is None else f"{hub_id} ({name})"
        raise DataError(f"{label} cannot be loaded from the hub: {_cause(error)}") from error
    return rows, _commit_of(found) or revision


def read_web(url: str, *, sha256: str, split: str) -> list[Row]:
    """All rows of a file at a fixed place on the web, or of the library's copy of it.

    Args:
        url: The file, JSON Lines.
        sha256: What the file must hash to; another file is not read at all.
        split: The name of the split that the file holds.

    Raises:
        DataError: The place is out of reach and there is no copy, or the file is another one.
    """
    datasets = _datasets()
    try:
        with _quiet(datasets):
            path = Path(datasets.DownloadManager().download(url))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except Exception as error:  # network and cache: each has its own types
        raise DataError(f"{url} cannot be loaded: {_cause(error)}") from error
    if digest != sha256:
        raise DataError(
            f"{url} is not the file that is expected (sha256 {digest}, not {sha256}); delete "
            f"{path} to load it again"
        )
    return read_local(path, split=split)


def _datasets() -> Any:
    # By name, so that type checkers do not follow a library that has no types.
    try:
        datasets: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"real data needs the datasets library: {_cause(error)}; pip install datasets"
        ) from error
    if int(datasets.__version__.split(".")[0]) < OLDEST_MAJOR_RELEASE:
        raise DataError(
            f"datasets {datasets.__version__} can run code of a data set; "
            f"pip install 'datasets>={OLDEST_MAJOR_RELEASE}'"
        )
    return datasets


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """No progress bars and no log of `datasets`, which repeats each error; then as before.

    The hub client's own log stays: while it tries again it is the only sign of life. Bars
    that the user asked for by environment variable stay too.
    """
    hub: Any = importlib.import_module("huggingface_hub")
    logger = logging.getLogger("datasets")
    with ExitStack() as stack:
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL + 1)
        for bars, wish in (
            (datasets.utils, datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS),
            (hub.utils, hub.constants.HF_HUB_DISABLE_PROGRESS_BARS),
        ):
            if wish is None and not bars.are_progress_bars_disabled():
                bars.disable_progress_bars()
                stack.callback(bars.enable_progress_bars)
        yield


def _commit_of(found: Any) -> str | None:
    """The commit in the addresses of the files that a data set was made from."""
    sources = getattr(getattr(found, "info", None), "download_checksums", None) or ()
    commits = {match[1] for source in sources if (match := _REVISION_IN_URL.search(str(source)))}
    return commits.pop() if len(commits) == 1 else None


def _what_is_wrong(path: Path, field: str | None) -> str | None:
    """What keeps a file from being read, or None if nothing is found.

    The library's own words name neither the file nor, often, the fault (an empty file is a
    bare StopIteration), and change between releases.
    """
    if path.suffix == ".parquet":
        return None
    try:
        if path.suffix == ".gz":
            content = gzip.decompress(path.read_bytes()).decode("utf-8")
        else:
            content = path.read_text(encoding="utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        return f"is damaged or cannot be read ({_cause(error)})"
    if not content.strip():
        return "the file is empty"
    if field is not None:
        return _what_is_wrong_with_object(content, field)
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                return f"line {number} is not valid JSON ({error})"
            if not isinstance(row, dict):
                return f"line {number} is not a JSON object"
    return None


def _what_is_wrong_with_object(content: str, field: str) -> str | None:
    try:
        whole = json.loads(content)
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON ({error})"
    if not isinstance(whole, dict):
        return f"expected a JSON object with a list '{field}', found {type(whole).__name__}"
    if not isinstance(whole.get(field), list):
        return f"has no list '{field}'; found {', '.join(whole) or 'nothing'}"
    return None if whole[field] else f"the list '{field}' is empty"


def _cause(error: BaseException) -> str:
    """One line on an error; the library's wrapper is opened, since it says nothing itself."""
    if type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
