"""Makes a recording: prompts along the target's own text, with several draft models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from draftproof.budget import require_domains
from draftproof.config import RunConfig
from draftproof.data.encoding import prompt_ids
from draftproof.data.prompt import Prompt
from draftproof.decoding import within_context
from draftproof.engines.ahead import Ahead
from draftproof.engines.measuring import Bench
from draftproof.engines.protocol import Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.engines.room import batch_size
from draftproof.environment import hardware, versions
from draftproof.errors import DataError, DraftproofError, TraceError, UsageError, printable
from draftproof.models.loading import DraftLM, ModelPair, load_pair, with_draft
from draftproof.randomness import SeededRandomness
from draftproof.replay.off_policy import OffPolicyText, off_policy_label
from draftproof.replay.recorded import Recording, RecordingInfo
from draftproof.replay.recorder import Trajectory, extended, record_case, require_recordable
from draftproof.replay.storage import RecordingFolder
from draftproof.shapes import NO_TREE
from draftproof.wording import counted

_SAY_EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPlan:
    """What is to be recorded.

    Attributes:
        config: Target, dtype, device, sampling, length limit, prompts, seed and how many prompts
            are decoded at once; the draft model and the tree are not used.
        drafts: Names of draft models, at least one.
        k: Tokens to keep of each position.
        overrun: Tokens to record after the end of an output.
        rollout: Tokens of each draft model's own chain to look at from every position; at
            temperature 0.
        outputs: Plain outputs of a finished run by case id, with why each ended; prompts without
            one are decoded.
        prompts: What the target is asked; none where there are `texts`.
        texts: Text of another origin in place of prompts and outputs; else None.
    """

    config: RunConfig
    drafts: tuple[str, ...]
    prompts: Sequence[Prompt] = ()
    k: int = 16
    overrun: int = 8
    rollout: int = 8
    outputs: Mapping[str, tuple[tuple[int, ...], str]] | None = None
    texts: Sequence[OffPolicyText] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModels:
    """The models of a recording.

    Attributes:
        pair: The target, with the first draft model.
        drafts: Every draft model by its name.
        descriptions: Of ``target`` and each of them.
    """

    pair: ModelPair
    drafts: dict[str, DraftLM]
    descriptions: dict[str, dict[str, Any]]


def load_models(
    config: RunConfig, drafts: Sequence[str], report: Callable[[str], None]
) -> LoadedModels:
    """The target once, and every draft model beside it.

    Raises:
        ModelError: One cannot be loaded, or does not share the target's vocabulary.
        UsageError: There is no draft model, or one is named like the target.
    """
    if not drafts or "target" in drafts:
        raise UsageError("--drafts: name at least one draft model, and none of them 'target'")
    first = load_pair(replace(config, draft=drafts[0]), report)
    loaded: dict[str, DraftLM] = {}
    descriptions = {"target": first.descriptions["target"]}
    for name in drafts:
        pair = (
            first if name == drafts[0] else with_draft(first, replace(config, draft=name), report)
        )
        if pair.draft is None:
            raise UsageError(f"--drafts: {name} is not a draft model for {config.target}")
        loaded[name] = pair.draft
        descriptions[name] = pair.descriptions["draft"]
    return LoadedModels(pair=first, drafts=loaded, descriptions=descriptions)


def make_recording(
    plan: RecordingPlan, folder: Path, models: LoadedModels, report: Callable[[str], None]
) -> Recording:
    """Record every prompt that the folder does not hold yet.

    Args:
        plan: What to record.
        folder: Made, or gone on with.
        models: As `load_models` gives them.
        report: Told how far it is, in a line now and then.

    Raises:
        UsageError: The settings are none that a recording can be made with, or there is no prompt.
        TraceError: The folder holds another recording.
        DraftproofError: A prompt does not fit, or the disk is full.
    """
    config, target = plan.config, models.pair.target
    require_recordable(config.sampling)
    prompts = {prompt.prompt_id: prompt for prompt in plan.prompts}
    texts = _encoded(plan, models.pair, report)
    names = list(texts) or list(prompts)
    if not names:
        raise UsageError(f"--prompts {config.prompts}: there is no prompt to record")
    require_domains(texts[name][0] if name in texts else prompts[name].domain for name in names)
    info = RecordingInfo(
        models=models.descriptions,
        max_lengths={
            "target": target.max_length,
            **{name: model.max_length for name, model in models.drafts.items()},
        },
        vocabulary_size=target.vocabulary_size,
        settings=replace(config, draft=plan.drafts[0]).to_json(),
        k=min(plan.k, target.vocabulary_size),
        overrun=0 if texts else plan.overrun,
        rollout=plan.rollout if config.sampling.greedy else 0,
        off_policy=off_policy_label(plan.texts),
        versions=versions(),
        hardware=hardware(),
        sources=(config.prompts,),
    )
    recording = RecordingFolder(folder, info, names)
    _require_same(recording, prompts, texts, models.pair)
    said, began = time.monotonic(), len(recording.finished)
    left = [prompts[name] for name in names if name in prompts and name not in recording.finished]
    decoder = _Decoder(models.pair, plan, left, report)
    if began:
        report(f"{began} of {counted(len(names), 'prompt')} recorded already")
    for name in names:
        if name in recording.finished:
            continue
        if name in texts:
            domain, token_ids, trajectory = texts[name]
        else:
            domain = prompts[name].domain
            token_ids, trajectory = decoder.trajectory(prompts[name])
        recording.append(
            record_case(
                name,
                domain,
                token_ids,
                trajectory,
                target,
                models.drafts,
                sampling=config.sampling,
                k=plan.k,
                rollout=info.rollout,
            )
        )
        if time.monotonic() - said > _SAY_EVERY_SECONDS:
            said = time.monotonic()
            report(f"recorded {len(recording.finished)} of {counted(len(names), 'prompt')}")
    return recording.close()


def _require_same(
    recording: RecordingFolder,
    prompts: Mapping[str, Prompt],
    texts: Mapping[str, tuple[str, tuple[int, ...], Trajectory]],
    pair: ModelPair,
) -> None:
    """Refuse to go on where prompts or texts had the same ids and said other things.

    Raises:
        TraceError: Names the first of them.
    """
    for name, case in recording.finished.items():
        if name in texts:
            _, token_ids, trajectory = texts[name]
            is_same = tuple(case.token_ids.tolist()) == tuple(trajectory.token_ids)
        elif name in prompts and not prompts[name].earlier:
            token_ids, is_same = prompt_ids(pair, prompts[name], []), True
        else:
            continue
        if not is_same or tuple(case.prompt_token_ids.tolist()) != tuple(token_ids):
            raise TraceError(
                f"{recording.folder} holds a recording in which {printable(name)} is another "
                "prompt or text; give another --out, or remove the folder"
            )


def _encoded(
    plan: RecordingPlan, pair: ModelPair, report: Callable[[str], None]
) -> dict[str, tuple[str, tuple[int, ...], Trajectory]]:
    """The domain, prompt and trajectory of every text of another origin that has an output.

    Raises:
        DataError: A text is not the target's, or none has an output.
    """
    texts = plan.texts or ()
    said = [text for text in texts if text.output]
    if len(said) < len(texts):
        report(f"{len(texts) - len(said)} of {len(texts)} texts have no output and are left out")
    if texts and not said:
        raise DataError(f"{texts[0].source}: no text has an output; there is nothing to record")
    return {
        text.case_id: (text.domain, *text.encoded(pair, plan.config.max_new_tokens))
        for text in said
    }


class _Decoder:
    """What the target says after prompts, decoded many at a time where the settings ask for it.

    Args:
        pair: The target is used.
        plan: What to record.
        prompts: Those that will be asked for, in that order.
        report: Told of batches that failed.
    """

    def __init__(
        self,
        pair: ModelPair,
        plan: RecordingPlan,
        prompts: Sequence[Prompt],
        report: Callable[[str], None],
    ) -> None:
        self._pair = pair
        self._overrun = plan.overrun
        engine = ReferenceEngine.without_drafts(pair, plan.config)
        self._bench = Bench(engine, pair, plan.config)
        self._outputs = plan.outputs or {}
        self._left = [prompt for prompt in prompts if prompt.prompt_id not in self._outputs]
        rows = batch_size(replace(plan.config, tree=NO_TREE), pair)
        self._plain = engine.plain
        if rows > 1:
            report(f"{rows} prompts are decoded at once")
            self._plain = Ahead(engine, rows, self._after, plainly=True, report=report).answer

    def trajectory(self, prompt: Prompt) -> tuple[tuple[int, ...], Trajectory]:
        """A prompt's token ids, and what the target says after it.

        Raises:
            DraftproofError: The prompt does not fit.
        """
        request = self._bench.request(prompt)
        output, committed, stop_reason = self._output(request)
        tokens = extended(
            request.prompt_token_ids,
            output,
            self._pair.target,
            sampling=request.sampling,
            randomness=SeededRandomness(request.seed, f"{request.request_id}\0overrun"),
            overrun=self._overrun - (len(output) - committed),
        )
        return request.prompt_token_ids, Trajectory(
            token_ids=tokens, committed=committed, stop_reason=stop_reason
        )

    def _output(self, request: Request) -> tuple[tuple[int, ...], int, str]:
        """The target's tokens after a prompt, how many are the output, and why it ends there."""
        if request.request_id in self._outputs:
            tokens, stop_reason = self._outputs[request.request_id]
            return tokens, len(tokens), stop_reason
        tokens = self._plain(self._with_overrun(request)).token_ids
        output, reason = request.stopping.cut((), tokens)
        return tokens, len(output), str(reason)

    def _with_overrun(self, request: Request) -> Request:
        """The request for an output and, where nothing stops it, what comes after its end."""
        longer = replace(
            request.stopping, max_new_tokens=request.stopping.max_new_tokens + self._overrun
        )
        stopping = within_context(longer, request.prompt_token_ids, self._pair.target)
        return replace(request, stopping=stopping)

    def _after(self, request: Request) -> Iterator[Request]:
        """The requests that come after one, as the engine is asked for them."""
        names = [prompt.prompt_id for prompt in self._left]
        for prompt in self._left[names.index(request.request_id) + 1 :]:
            with suppress(DraftproofError):  # which is raised when its turn comes
                yield self._with_overrun(self._bench.request(prompt))
