"""Unpacked weights of GGUF files, kept in a folder for the next run where a user asks for it.

Unpacking a large file takes a minute; reading what it unpacked to takes seconds. What is kept is
believed only while it is whole: each file's hash is compared, as the model that is loaded must be
the one that the report names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from draftproof.paths import is_folder

VARIABLE = "DRAFTPROOF_WEIGHTS_CACHE"
"""Names the folder; nothing is kept without it."""
_MANIFEST = "draftproof.json"


def weights_cache() -> Path | None:
    """The folder in which a user asks for weights to be kept."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else None


class UnpackedWeights:
    """The place of one file's weights, unpacked to one dtype by one version of `transformers`.

    Args:
        cache: The folder of all of them.
        sha256: Of the packed file.
        dtype: What it is unpacked to.
    """

    def __init__(self, cache: Path, sha256: str, dtype: torch.dtype | str) -> None:
        name = str(dtype).removeprefix("torch.")
        self._folder = cache / f"{sha256[:32]}-{name}-transformers-{transformers.__version__}"

    def find(self) -> Path | None:
        """The folder of a checkpoint with the weights, whole; None where there is none.

        One that is damaged is removed.
        """
        if not is_folder(self._folder):
            return None
        if _is_whole(self._folder):
            return self._folder
        shutil.rmtree(self._folder, ignore_errors=True)
        return None

    def keep(self, model: PreTrainedModel) -> str:
        """Save a model's weights and configuration, whole or not at all.

        Returns:
            What to tell: where they are, or why they are not kept, which is no error.
        """
        try:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._folder.parent, prefix=".part-") as name:
                part = Path(name, "model")
                model.save_pretrained(part)
                hashes = {path.name: _sha256(path) for path in sorted(part.iterdir())}
                (part / _MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
                # Another process may have been faster; what it kept is the same.
                with contextlib.suppress(FileExistsError):
                    part.rename(self._folder)
        except (OSError, RuntimeError, ValueError) as error:
            if not is_folder(self._folder):
                return f"unpacked weights are not kept in {self._folder.parent}: {error}"
        return f"unpacked weights are kept in {self._folder.parent} ({VARIABLE})"


def _is_whole(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        names = {path.name for path in folder.iterdir()} - {_MANIFEST}
        return names == set(hashes) and all(
            _sha256(folder / name) == sha256 for name, sha256 in hashes.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
