"""What ``--spec-target`` and ``--spec-draft`` name: checked before anything is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from draftproof.assets import asset_path
from draftproof.config import BUILTIN, BUILTIN_SMALL
from draftproof.errors import ModelError, clean_text
from draftproof.paths import is_file, is_folder

_HUB_ID = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")
_LONGEST_HUB_ID = 300
"""The hub takes 96 characters; the rest is for a revision."""
_GGUF_MAGIC = b"GGUF"
_SETTINGS = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "quantize_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Files beside the weights of which each can change what a model puts out."""
_SHARD = re.compile(r"[^/\\\x00-\x1f]+\.safetensors")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class SourceKind(StrEnum):
    """Where a model's files are."""

    BUILTIN = "builtin"
    FOLDER = "folder"
    GGUF = "gguf"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model as `transformers` is asked for it.

    Attributes:
        name: As the user gave it.
        kind: Where the files are.
        location: A folder, or a hub id.
        gguf_file: Name of the file in that folder, for a GGUF.
        revision: Branch, tag or commit, for a model on the hub; None is its main branch.
        trust_remote_code: Whether Python code that comes with the model may run.
    """

    name: str
    kind: SourceKind
    location: str
    gguf_file: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """The local files that decide what the model puts out; none for a model on the hub."""
        if self.kind is SourceKind.HUB:
            return ()
        if self.gguf_file is not None:
            return (Path(self.location, self.gguf_file),)
        folder = Path(self.location)
        settings = (folder / name for name in _SETTINGS)
        weights = (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json"))
        code = folder.glob("*.py") if self.trust_remote_code else ()
        return tuple(sorted([*weights, *code, *(path for path in settings if path.is_file())]))


def model_source(name: str, role: str) -> ModelSource:
    """What a model's name stands for.

    Args:
        name: ``builtin`` or ``builtin-small``, a local folder, a ``.gguf`` file or a hub id, with
            ``@revision`` or not.
        role: ``target`` or ``draft``; names the option in errors and picks the built-in model.

    Raises:
        ModelError: The name is none of these, or the folder or file is not a model.
    """
    option = f"--spec-{role}"
    if name == BUILTIN:
        folder = asset_path("models", f"builtin-{role}")
        return ModelSource(name, SourceKind.BUILTIN, str(folder))
    if name == BUILTIN_SMALL:
        return ModelSource(name, SourceKind.BUILTIN, str(asset_path("models", BUILTIN_SMALL)))
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        _check_gguf(path, option)
        return ModelSource(name, SourceKind.GGUF, str(path.parent), path.name)
    if is_folder(path):
        _check_folder(path, option)
        return ModelSource(name, SourceKind.FOLDER, str(path))
    if is_file(path):
        raise ModelError(
            f"{option}: {name} is a file, but not a .gguf; give the folder of the checkpoint"
        )
    hub = _HUB_ID.fullmatch(name)
    if hub is None or name.startswith(".") or len(name) > _LONGEST_HUB_ID:
        raise ModelError(
            f"{option}: there is no folder {name}; give '{BUILTIN}', a folder, a .gguf file or a "
            "hub id such as org/model or org/model@revision"
        )
    return ModelSource(name, SourceKind.HUB, hub["id"], revision=hub["revision"])


def _check_gguf(path: Path, option: str) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"{option}: cannot read {path}: {error.strerror}") from error
    if magic != _GGUF_MAGIC:
        raise ModelError(
            f"{option}: {path} is not a GGUF file (it starts with {magic!r}, not {_GGUF_MAGIC!r}); "
            "download it again, or give the folder of a safetensors checkpoint"
        )


def require_safe_names(content: str, index: str) -> None:
    """Refuse an index of shards that names anything but safetensors files beside it.

    Whatever reads the weights takes the names from it, and opens a pickle that it names as one.

    Args:
        content: Of the index.
        index: What errors call it.

    Raises:
        ModelError: It is no index, or names another file.
    """
    try:
        named = list(json.loads(content)["weight_map"].values())
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} has no weight_map; download it again") from error
    for name in named:
        if not isinstance(name, str) or not _SHARD.fullmatch(name):
            raise ModelError(
                f"{index} names {clean_text(str(name))!r} for its weights, which is no safetensors "
                "file beside it; do not load this checkpoint unless you trust who made it: convert "
                "it to safetensors in one folder"
            )


def _check_indices(path: Path, option: str) -> None:
    for index in sorted(path.glob("*.index.json")):
        # The index of pickled weights is not read where there are others.
        if index.name.endswith(".safetensors.index.json"):
            try:
                content = index.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise ModelError(f"{option}: cannot read {index}: {error.strerror}") from error
            require_safe_names(content, f"{option}: {index}")


def _check_folder(path: Path, option: str) -> None:
    if (path / "adapter_config.json").is_file():
        raise ModelError(
            f"{option}: the folder {path} holds an adapter, which changes another model; merge it "
            "into that model (merge_and_unload of peft), save the result and give its folder"
        )
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{option}: the folder {path} has no config.json, so it is not a model; give the "
            "folder that save_pretrained wrote"
        )
    _check_indices(path, option)
    if any(path.glob("*.safetensors")):
        return
    if any(file for pattern in _PICKLED for file in path.glob(pattern)):
        raise ModelError(
            f"{option}: the folder {path} holds pickled weights, which can run code when they are "
            'loaded; convert them with: python -c "from transformers import AutoModelForCausalLM '
            "as M; M.from_pretrained('IN').save_pretrained('OUT')\" in an environment you trust"
        )
    raise ModelError(f"{option}: the folder {path} has no .safetensors file")
