"""Recordings of small models, as `draftproof record` makes them of large ones."""

import numpy as np
import torch
from hypothesis import strategies as st
from strategies import VOCABULARY

from draftproof.acceptance import make_rule
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import make_drafter
from draftproof.models.table import TableLM
from draftproof.randomness import SeededRandomness
from draftproof.recording import StepRecorder, StepSeconds
from draftproof.replay.recorded import RecordedCase, RecordedDraft, RecordingInfo
from draftproof.replay.recorder import Trajectory, extended, record_case
from draftproof.shapes import ChainShape, KAryShape, StaticShape

GREEDY = Sampling(temperature=0.0)
PROMPTS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
SEEDS = st.integers(0, 30)


@st.composite
def static_shapes(draw, ranks=VOCABULARY, depth=6, most=10):
    """A random tree in which every node has its elder siblings and its ancestors."""
    paths = {(0,)}
    for _ in range(draw(st.integers(0, most - 1))):
        open_paths = sorted(
            {(*path, 0) for path in paths if len(path) < depth}
            | {(*path[:-1], path[-1] + 1) for path in paths if path[-1] + 1 < ranks} - paths
        )
        paths.add(draw(st.sampled_from(open_paths)))
    return StaticShape(tuple(sorted(paths, key=lambda path: (len(path), path))))


SHAPES = st.one_of(
    static_shapes(),
    st.builds(ChainShape, st.integers(1, 6)),
    st.builds(KAryShape, st.integers(1, 3), st.integers(1, 3)),
)


def seeded_table(seed, vocabulary=5, sharpness=1.0, max_length=1 << 30):
    """A table model whose law depends on the last two tokens, without two equal logits."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(vocabulary, vocabulary, vocabulary, generator=generator).double()
    laws = torch.softmax(sharpness * rows, -1)

    def law(context):
        return laws[context[-2] if len(context) > 1 else 0, context[-1]]

    return TableLM(law, vocabulary, max_length)


def info_of(target, drafts, *, k=5, overrun=8, sampling=GREEDY):
    """What a recording of some models was made of."""
    return RecordingInfo(
        models={},
        max_lengths={
            "target": target.max_length,
            **{name: model.max_length for name, model in drafts.items()},
        },
        vocabulary_size=target.vocabulary_size,
        settings={"target": "table", "sampling": {"temperature": sampling.temperature}},
        k=k,
        overrun=overrun,
        versions={},
        hardware={},
    )


def recorded(prompt, target, drafts, stopping, *, seed=0, case_id="case", **settings):
    """A prompt's recording: the target's own text, and what the draft models say along it."""
    randomness = SeededRandomness(seed, case_id)
    return recorded_by(randomness, prompt, target, drafts, stopping, case_id=case_id, **settings)


def recorded_by(
    randomness,
    prompt,
    target,
    drafts,
    stopping,
    *,
    k=5,
    overrun=8,
    rollout=0,
    sampling=GREEDY,
    case_id="case",
):
    """A recording whose draws come from `randomness`."""
    output = plain_decode(
        prompt, target, sampling=sampling, stopping=stopping, randomness=randomness
    )
    tokens = extended(
        prompt,
        output.token_ids,
        target,
        sampling=sampling,
        randomness=randomness,
        overrun=overrun,
    )
    trajectory = Trajectory(
        token_ids=tokens, committed=len(output.token_ids), stop_reason=str(output.stop_reason)
    )
    return record_case(
        case_id, "code", prompt, trajectory, target, drafts, sampling=sampling, k=k, rollout=rollout
    )


def live(prompt, target, draft, shape, stopping, *, sampling=GREEDY, seed=0, case_id="case"):
    """The columns of a live run: steps and nodes."""
    recorder = StepRecorder(lambda: StepSeconds(0.0, 0.0))
    output = speculated(
        SeededRandomness(seed, case_id),
        prompt,
        target,
        draft,
        shape,
        stopping,
        sampling=sampling,
        observe=recorder,
    )
    return output, recorder.steps, recorder.nodes


def live_counts(randomness, prompt, target, draft, shape, stopping, *, sampling=GREEDY):
    """Steps, drafted and accepted tokens of a live run."""
    seen = []
    speculated(
        randomness,
        prompt,
        target,
        draft,
        shape,
        stopping,
        sampling=sampling,
        observe=lambda step, _: seen.append((len(step.draft.tree), len(step.acceptance.path))),
    )
    return len(seen), sum(drafted for drafted, _ in seen), sum(kept for _, kept in seen)


def speculated(randomness, prompt, target, draft, shape, stopping, *, sampling, observe):
    return speculate(
        prompt,
        target,
        make_drafter(shape, draft),
        make_rule("auto", shape, is_greedy=sampling.greedy),
        sampling=sampling,
        stopping=stopping,
        randomness=randomness,
        observe=observe,
    )


def synthetic(ranks, *, committed=None, prompt_tokens=4, domain="code", case_id="c", k=16, q=None):
    """A case of given sibling ranks under one draft model, ``draft``; q/p of each token too."""
    tokens = len(ranks)
    ratio = np.zeros(tokens) if q is None else np.log(np.asarray(q, float))
    rank = np.asarray(ranks, "<i4")
    return RecordedCase(
        case_id=case_id,
        domain=domain,
        prompt_token_ids=np.arange(prompt_tokens, dtype="<i4"),
        token_ids=np.arange(tokens, dtype="<i4"),
        committed=tokens if committed is None else committed,
        stop_reason="length",
        target={
            "log_probability": np.full(tokens, -0.5, "<f4"),
            "entropy": np.ones(tokens, "<f4"),
        },
        drafts={
            "draft": RecordedDraft(
                columns={
                    "rank": rank,
                    "margin": np.ones(tokens, "<f4"),
                    "log_probability": (ratio - 0.5).astype("<f4"),
                    "entropy": np.ones(tokens, "<f4"),
                    "overlap": np.full(tokens, 0.5, "<f4"),
                },
                top={
                    "top_token_id": np.tile(np.arange(k, dtype="<i4"), (tokens, 1)),
                    "top_log_probability": np.full((tokens, k), -1.0, "<f4"),
                    "top_target_log_probability": np.full((tokens, k), -1.0, "<f4"),
                    "top_target_rank": np.zeros((tokens, k), "<u2"),
                },
                chain={
                    "chain_probability": np.full((tokens, 0), 0.5, "<f4"),
                    "chain_entropy": np.ones((tokens, 0), "<f4"),
                },
            )
        },
    )
