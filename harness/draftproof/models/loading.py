"""Loads a target and a draft model with their tokenizer, and checks that they fit together."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from draftproof.choices import SPREAD
from draftproof.config import BUILTIN, NO_DRAFT, RunConfig
from draftproof.errors import ModelError, TemplateError
from draftproof.models.checkpoint import commit, content_hash, load_model, load_tokenizer
from draftproof.models.families import family_notes
from draftproof.models.generation_notes import generation_notes
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.moved import MovedLM
from draftproof.models.probe import probe_tree_scoring
from draftproof.models.source import ModelSource, SourceKind, model_source
from draftproof.models.template_time import require_repeatable, without_clock
from draftproof.models.vocabulary import compare_vocabularies
from draftproof.models.widened import WidenedLM
from draftproof.shapes import LookupShape

_LOG = logging.getLogger(__name__)

DraftLM = HuggingFaceLM | WidenedLM | MovedLM
"""What a draft model may be: over the target's ids, and where the target is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPair:
    """A target and a draft model that share one vocabulary.

    Attributes:
        target: The model whose output must not change.
        draft: The model that proposes; None where none is needed: for prompt lookup, and for
            engines that draft by themselves.
        tokenizer: The target's.
        stop_token_ids: Ids that end an output.
        descriptions: What was loaded, by role: name, content hash, parameters, dtype, device,
            the tokenizer's hash, and notes: what a user should know.
        template_arguments: What else the chat template is given, such as ``enable_thinking``, or
            ``tools``.
    """

    target: HuggingFaceLM
    draft: DraftLM | None
    tokenizer: PreTrainedTokenizerBase
    stop_token_ids: frozenset[int]
    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def vocabulary_size(self) -> int:
        """How many ids the target knows, from 0."""
        size: int = self.target.vocabulary_size
        return size

    def encode(self, text: str, earlier: Sequence[tuple[str, str]] = ()) -> tuple[int, ...]:
        """The token ids of what a user says, in the tokenizer's chat template where it has one.

        Args:
            text: What the user says now.
            earlier: What was said before: the user's text and the answer, for each turn.

        Raises:
            ModelError: The chat template cannot be rendered (it runs in the sandboxed environment
                that `transformers` gives it, and may have tried to leave it), or the tokenizer has
                a token for which the target has no embedding.
        """
        messages = [
            {"role": role, "content": content}
            for turn in earlier
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
        return self.encode_messages([*messages, {"role": "user", "content": text}])

    def encode_messages(self, messages: Sequence[dict[str, Any]]) -> tuple[int, ...]:
        """The token ids of messages in the chat template, up to where the answer begins.

        Args:
            messages: Each with ``role``, ``content`` and whatever else the template reads, such as
                ``tool_calls``. Without a template, their texts with blank lines between.

        Raises:
            ModelError: As `encode`.
        """
        if self.tokenizer.chat_template is None:
            said = [str(message.get("content", "")) for message in messages]
            ids = self.tokenizer("\n\n".join(said))["input_ids"]
        else:
            ids = self.tokenizer(self._shaped(messages), add_special_tokens=False)["input_ids"]
        for token in ids:
            if token >= self.target.vocabulary_size:
                raise ModelError(
                    f"the prompt has the token {self.tokenizer.convert_ids_to_tokens(token)!r} "
                    f"(id {token}), which the tokenizer has and the target's "
                    f"{self.target.vocabulary_size} embeddings have not; use the tokenizer that "
                    "belongs to the checkpoint"
                )
        return tuple(ids)

    def _shaped(self, messages: Sequence[dict[str, Any]]) -> str:
        """Messages in the tokenizer's chat template, up to where the answer begins."""
        template = self.tokenizer.get_chat_template()
        require_repeatable(template)
        try:
            shaped, again = (
                self.tokenizer.apply_chat_template(
                    list(messages),
                    tokenize=False,
                    add_generation_prompt=True,
                    chat_template=without_clock(template),
                    **self.template_arguments,
                )
                for _ in range(2)
            )
        except Exception as error:  # a template can fail in any way that Python can
            raise ModelError(
                f"the target's chat template cannot be rendered: {type(error).__name__}: {error}; "
                "repair chat_template.jinja beside the tokenizer"
            ) from error
        if shaped != again:
            raise TemplateError(
                "the target's chat template makes other text of the same messages each time, so "
                "that outputs could not be compared; take what it draws or counts out of "
                "chat_template.jinja beside the tokenizer"
            )
        return str(shaped)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of some token ids, special tokens included."""
        return str(self.tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False))


def load_pair(config: RunConfig, report: Callable[[str], None] = _LOG.info) -> ModelPair:
    """The pair that a run's settings name.

    Args:
        config: `target`, `draft`, `dtype` and `device` are used.
        report: Told what is being loaded, in a line each.

    Raises:
        ModelError: A model cannot be found or loaded, or the two do not share a vocabulary.
    """
    devices = choose_devices(config)
    roles = ("target", "draft") if config.draft != NO_DRAFT else ("target",)
    sources = {role: model_source(getattr(config, role), role) for role in roles}
    if config.trust_remote_code:
        sources = {
            role: replace(source, trust_remote_code=True) for role, source in sources.items()
        }
    tokenizers = {role: load_tokenizer(source, role) for role, source in sources.items()}
    vocabularies = {role: tokenizer.get_vocab() for role, tokenizer in tokenizers.items()}
    # Before the models are loaded, which can take long.
    if "draft" in sources and not _shares_vocabulary(config, tokenizers, vocabularies):
        del sources["draft"]
    models: dict[str, PreTrainedModel] = {}
    notes: dict[str, list[str]] = {role: [] for role in sources}
    for role, source in sources.items():
        device = devices[role]
        is_spread = role == "target" and config.device == SPREAD
        dtype = choose_dtype(config.dtype, source, device)
        where = "all accelerators" if is_spread else device
        report(f"loading {role} {source.name} ({dtype} on {where})")
        models[role] = load_model(
            source, role, dtype, device, spread=is_spread, report=report, note=notes[role].append
        )
    loaded: dict[str, DraftLM] = {}
    target = HuggingFaceLM(models["target"], max(vocabularies["target"].values()) + 1)
    loaded["target"] = target
    if "draft" in sources:
        loaded["draft"] = _draft_for(
            target, models["draft"], vocabularies, tokenizers, notes["draft"]
        )
    notes["target"].extend(
        generation_notes(getattr(models["target"], "generation_config", None), config.sampling)
    )
    for role, model in loaded.items():
        try:
            probe_tree_scoring(model)
        except ModelError as error:
            raise ModelError(f"--spec-{role} {sources[role].name}: {error}") from error
        notes[role].extend(family_notes(models[role], model.max_length))
        for note in notes[role]:
            report(f"{role}: {note}")
    return ModelPair(
        target=target,
        draft=loaded.get("draft"),
        tokenizer=tokenizers["target"],
        stop_token_ids=_stop_token_ids(models["target"], tokenizers["target"]),
        descriptions={
            "draft": {"name": NO_DRAFT},
            **{
                role: {
                    **_describe(source, models[role], notes[role]),
                    "tokenizer_sha256": _tokenizer_hash(tokenizers[role]),
                }
                for role, source in sources.items()
            },
        },
    )


def with_draft(
    pair: ModelPair, config: RunConfig, report: Callable[[str], None] = _LOG.info
) -> ModelPair:
    """The pair's target with another draft model, which alone is loaded.

    Args:
        pair: Of the target.
        config: `draft`, `dtype`, `device` and `draft_device` are used.
        report: Told what is being loaded, in a line each.

    Raises:
        ModelError: The draft model cannot be found or loaded, or does not share the vocabulary.
    """
    device = choose_devices(config)["draft"]
    source = model_source(config.draft, "draft")
    source = replace(source, trust_remote_code=config.trust_remote_code)
    tokenizers = {"target": pair.tokenizer, "draft": load_tokenizer(source, "draft")}
    vocabularies = {role: tokenizer.get_vocab() for role, tokenizer in tokenizers.items()}
    compare_vocabularies(vocabularies["target"], vocabularies["draft"], added=_added(tokenizers))
    dtype = choose_dtype(config.dtype, source, device)
    report(f"loading draft {source.name} ({dtype} on {device})")
    notes: list[str] = []
    model = load_model(source, "draft", dtype, device, report=report, note=notes.append)
    draft = _draft_for(pair.target, model, vocabularies, tokenizers, notes)
    try:
        probe_tree_scoring(draft)
    except ModelError as error:
        raise ModelError(f"--spec-draft {source.name}: {error}") from error
    notes.extend(family_notes(model, draft.max_length))
    described = {
        **_describe(source, model, notes),
        "tokenizer_sha256": _tokenizer_hash(tokenizers["draft"]),
    }
    return replace(pair, draft=draft, descriptions={**pair.descriptions, "draft": described})


def _shares_vocabulary(
    config: RunConfig,
    tokenizers: Mapping[str, PreTrainedTokenizerBase],
    vocabularies: Mapping[str, Mapping[str, int]],
) -> bool:
    """Whether the draft model fits, or False where it does not and is not needed.

    Nobody asked for the built-in draft model beside another target; it is the default.

    Raises:
        ModelError: It does not fit, and is needed or was asked for.
    """
    try:
        compare_vocabularies(
            vocabularies["target"], vocabularies["draft"], added=_added(tokenizers)
        )
    except ModelError as error:
        if config.draft != BUILTIN:
            raise
        if config.engine != "reference" or isinstance(config.tree, LookupShape):
            return False
        raise ModelError(
            f"the draft model is the built-in one, since --spec-draft was not given, and "
            f"{error}; give --spec-draft, or --spec-tree lookup:5, which needs none"
        ) from error
    return True


def _added(tokenizers: Mapping[str, PreTrainedTokenizerBase]) -> frozenset[int]:
    """Ids that were added to the vocabulary that a tokenizer learned, in either of two."""
    return frozenset(
        index for tokenizer in tokenizers.values() for index in tokenizer.added_tokens_decoder
    )


def choose_devices(config: RunConfig) -> dict[str, torch.device]:
    """Where the two models of a run go, by role; of a target that is spread, its first device.

    Raises:
        ModelError: One of them is not there.
    """
    if config.device != SPREAD:
        target = choose_device(config.device)
    elif (target := choose_device("auto")).type == "cpu":
        raise ModelError(
            f"--spec-device {SPREAD}: PyTorch {torch.__version__} sees no accelerators here; use "
            "--spec-device auto"
        )
    if config.draft_device is None:
        return {"target": target, "draft": target}
    return {
        "target": target,
        "draft": choose_device(config.draft_device, option="--spec-draft-device"),
    }


def choose_device(name: str, option: str = "--spec-device") -> torch.device:
    """The device of a name; ``auto`` is cuda, mps or cpu, the first that is there.

    Raises:
        ModelError: The device is not there.
    """
    kind, _, index = name.partition(":")
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if kind == "auto":
        name = kind = next(device for device, there in present.items() if there)
    if not present[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise ModelError(
            f"{option} {name}: PyTorch {torch.__version__} sees no such device here; use "
            f"{option} auto"
        )
    return torch.device(name)


def choose_dtype(name: str, source: ModelSource, device: torch.device) -> torch.dtype | str:
    """The weights' type; ``auto`` is left to the checkpoint, where it has one of its own.

    The built-in pair and, on a CPU, a GGUF (whose weights are unpacked) run in float32, in which
    scoring a token in blocks of different widths differs least.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if source.kind is SourceKind.BUILTIN:
        return torch.float32
    if source.kind is SourceKind.GGUF:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return "auto"


def _stop_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    generation = getattr(model, "generation_config", None)
    stops = getattr(generation, "eos_token_id", None)
    listed = [] if stops is None else [stops] if isinstance(stops, int) else list(stops)
    if tokenizer.eos_token_id is not None:
        listed.append(tokenizer.eos_token_id)
    return frozenset(listed)


def _draft_for(
    target: HuggingFaceLM,
    model: PreTrainedModel,
    vocabularies: Mapping[str, Mapping[str, int]],
    tokenizers: Mapping[str, PreTrainedTokenizerBase],
    notes: list[str],
) -> DraftLM:
    """The draft model over the target's ids, whichever of them it has itself, where the target is.

    Mutates: `notes`, where it lacks some, or has others.
    """
    rows = model.config.get_text_config(decoder=True).vocab_size
    shared = compare_vocabularies(
        vocabularies["target"],
        vocabularies["draft"],
        target_rows=target.vocabulary_size,
        draft_rows=rows,
        added=_added(tokenizers),
    )
    tokenizer = tokenizers["draft"]
    special = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
    known = set(shared.known)
    stand_in = next((token for token in special if token in known), shared.known[0])
    notes.extend(shared.notes(str(tokenizer.convert_ids_to_tokens(stand_in))))
    draft: HuggingFaceLM | WidenedLM
    if shared.known == tuple(range(target.vocabulary_size)):
        draft = HuggingFaceLM(model, target.vocabulary_size)
    else:
        narrow = HuggingFaceLM(model, max(shared.known) + 1)
        draft = WidenedLM(narrow, target.vocabulary_size, shared.known, stand_in)
    return draft if model.device == target.device else MovedLM(draft, target.device)


def _describe(source: ModelSource, model: PreTrainedModel, notes: list[str]) -> dict[str, Any]:
    return {
        "name": source.name if source.kind is not SourceKind.GGUF else source.gguf_file,
        "kind": str(source.kind),
        "sha256": content_hash(source),
        **({"commit": commit(source)} if source.kind is SourceKind.HUB else {}),
        "architecture": type(model).__name__,
        "parameters": model.num_parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        **({"notes": notes} if notes else {}),
    }


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of everything that turns a prompt into token ids, the chat template included."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = sorted(tokenizer.get_vocab().items()) if backend is None else backend.to_str()
    text = json.dumps([rules, tokenizer.chat_template], ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
