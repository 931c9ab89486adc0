"""Trees and commits of every family under the state checks; and the families that are refused."""

import pytest
import torch
from broken_models import (
    WRONG_ANYWHERE,
    WRONG_WITH_WINDOWS,
    FullyCausalTree,
    PositionByIndex,
)
from families import REFUSED, VOCABULARY, WORKING
from strategies import tiny_llama

import draftproof.models.families as rules
from draftproof.acceptance.greedy import GreedyRule
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import make_drafter
from draftproof.errors import ModelError, StateError
from draftproof.models.checked import CheckedLM
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.probe import probe_tree_scoring
from draftproof.randomness import SeededRandomness
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping

# The last of these commits everything; the others drop siblings, subtrees, or all.
STEPS = (
    ((-1, -1, 0, 0, 1, 2, 5), (1, 4)),
    ((-1, -1, -1, 2, 2), (2, 4)),
    ((-1, 0, 1, -1, 3), ()),
    ((-1, -1), (1,)),
    ((-1, -1, 1, 2, 3, 4), (1, 2, 3, 4, 5)),
)
NAMES = [family.name for family in WORKING]
REASONS = {
    "mamba": "keeps? a state that cannot be rolled back",
    "recurrent_gemma": "keeps? a state that cannot be rolled back",
    "jamba": "keeps? a state that cannot be rolled back",
    "bamba": "keeps? a state that cannot be rolled back",
    "qwen3_next": "keeps? a state that cannot be rolled back",
    "lfm2": "conv, which keep a state that cannot be rolled back",
    "rwkv": "is recurrent",
    "llama4_text": "chunked_attention, for which no mask of a tree is known",
    "bloom": "ALiBi biases that count places in the cache",
    "mpt": "ALiBi biases that count places in the cache",
    "falcon": "ALiBi biases that count places in the cache",
    "gpt_neo": "local windows that count places in the cache",
    "openai-gpt": "keeps no key-value cache",
    "xlnet": "keeps no key-value cache",
}


def exercise(model):
    """A prompt longer than any window, trees scored in two calls, commits, and another prompt."""
    tokens = iter(torch.randint(VOCABULARY, (99,), generator=torch.Generator().manual_seed(1)))

    def take(count):
        return [int(next(tokens)) for _ in range(count)]

    model.reset()
    model.advance(take(12))
    for parents, path in STEPS:
        half = len(parents) // 2
        model.score(take(half), parents[:half])
        model.score(take(len(parents) - half), parents[half:])
        model.commit(path)
    model.advance(take(2))
    model.reset()
    model.advance(take(3))
    model.score(take(4), (-1, -1, 1, 0))
    model.commit((1, 2))
    model.advance(take(1))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", WORKING, ids=NAMES)
def test_trees_and_commits_equal_a_recompute(family, attention):
    if attention not in family.implementations():
        pytest.skip(f"{family.kind} has no {attention} attention")
    lm = HuggingFaceLM(family.model(attention))
    probe_tree_scoring(lm)
    exercise(CheckedLM(lm, "target"))


@pytest.mark.parametrize("family", WORKING, ids=NAMES)
def test_state_checks_find_every_fault_in_every_family(family):
    """The checks above could fail: each fault shows in the logits, or in the cache's length."""
    model = family.model()
    for broken in (*WRONG_ANYWHERE, *(WRONG_WITH_WINDOWS if family.slides else ())):
        checked = CheckedLM(broken(model), "target")
        with torch.inference_mode(), pytest.raises(StateError):
            exercise(checked)


@pytest.mark.parametrize("family", WORKING, ids=NAMES)
def test_the_output_is_the_targets_own(family):
    """Drafted for by a near and by a far model of the family, past the end of every window."""
    target = HuggingFaceLM(family.model())
    settings = {
        "sampling": Sampling(),
        "stopping": Stopping(max_new_tokens=16, stop_token_ids=frozenset()),
    }
    prompt = (3, 1, 4, 1, 5)
    plain = plain_decode(prompt, target, randomness=SeededRandomness(0, "x"), **settings)
    assert len(plain.token_ids) == 16
    accepted = []
    for noise in (0.1, 0.5):
        drafter = make_drafter(parse_tree("3x2"), HuggingFaceLM(family.near_model(noise)))
        speculative = speculate(
            prompt,
            target,
            drafter,
            GreedyRule(),
            randomness=SeededRandomness(0, "x"),
            observe=lambda step, committed: accepted.append(len(step.acceptance.path)),
            **settings,
        )
        assert speculative == plain
    assert len(set(accepted)) > 1


@pytest.mark.parametrize("family", REFUSED, ids=[family.name for family in REFUSED])
def test_families_that_cannot_score_a_tree_are_refused_with_the_reason(family):
    with pytest.raises(ModelError, match=REASONS[family.kind]) as caught:
        HuggingFaceLM(family.model())
    assert "use a model whose layers are plain attention" in str(caught.value)


def test_the_families_said_to_be_tested_are_those_that_are():
    kinds = {family.config().get_text_config(decoder=True).model_type for family in WORKING}
    assert kinds == rules.TESTED


@pytest.mark.parametrize(
    "family",
    [family for family in REFUSED if family.kind != "llama4_text"],
    ids=lambda family: family.name,
)
def test_running_it_alone_finds_what_is_refused_by_name(family, monkeypatch):
    """So that it is found too in architectures that nobody has listed.

    All but chunks of thousands of tokens, of which a few tokens show nothing.
    """
    monkeypatch.setattr("draftproof.models.hugging_face.require_tree_scoring", lambda model: None)
    reasons = "cannot score a tree: it tells|keeps no key-value cache|takes no attention mask"
    with pytest.raises(ModelError, match=reasons):
        probe_tree_scoring(HuggingFaceLM(family.model()))


@pytest.mark.parametrize("broken", [PositionByIndex, FullyCausalTree])
def test_the_probe_finds_wrong_positions_and_masks(broken):
    with pytest.raises(ModelError, match="it tells equal .* apart"):
        probe_tree_scoring(broken(tiny_llama(0, vocabulary=VOCABULARY).float()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_probe_has_no_complaint_in_other_dtypes(dtype):
    for family in WORKING:
        # The experts of transformers do not multiply in float64 on a CPU.
        if family.kind in ("llama", "gemma2", "gpt2") or (
            family.kind == "mixtral" and dtype != torch.float64
        ):
            probe_tree_scoring(HuggingFaceLM(family.model().to(dtype)))


def test_the_probe_finds_a_cache_that_is_not_used():
    class KeepsItsOwn(HuggingFaceLM):
        cache_lengths = ()

    with pytest.raises(ModelError, match=r"cache \[\] entries where 12 tokens were scored"):
        probe_tree_scoring(KeepsItsOwn(tiny_llama(0)))


def test_a_model_that_does_not_run_at_all_says_why():
    family = next(family for family in WORKING if family.kind == "mixtral")
    with pytest.raises(ModelError, match=r"^MixtralForCausalLM does not run: \S"):
        HuggingFaceLM(family.model().double())


def test_the_probe_leaves_the_model_as_it_was():
    lm = HuggingFaceLM(tiny_llama(0))
    probe_tree_scoring(lm)
    assert (lm.length, set(lm.cache_lengths)) == (0, {0})


def test_a_context_in_which_rotary_embeddings_switch_is_limited(monkeypatch):
    family = next(family for family in WORKING if "switch" in family.facts)
    model = family.model()
    assert HuggingFaceLM(model).max_length == 48
    assert any("limited to 48 of 64" in note for note in rules.family_notes(model, 48))
    # Without the limit, what was cached before the switch is wrong after it.
    monkeypatch.setattr("draftproof.models.hugging_face.context_length", lambda model, window: 64)
    checked = CheckedLM(HuggingFaceLM(model), "target")
    checked.advance([1 + i % 9 for i in range(46)])
    checked.score((1, 2), (-1, 0))
    with pytest.raises(StateError, match="differ from a recompute"):
        checked.score((3, 4), (1, 2))


def test_an_architecture_that_is_not_tested_is_said_to_be_so():
    model = tiny_llama(0)
    assert rules.family_notes(model, 256) == ()
    model.config.model_type = "unheard_of"
    assert any("not among the architectures" in note for note in rules.family_notes(model, 256))
