"""Pairs whose heads, tokenizers or vocabularies differ: what is shared, and what is refused."""

import pytest
import torch
from checkpoints import WORDS, save_checkpoint

from draftproof.acceptance import make_rule
from draftproof.config import RunConfig, Sampling
from draftproof.data.prompt import Prompt
from draftproof.drafting import make_drafter
from draftproof.engines.measuring import Bench
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import ModelError
from draftproof.lossless.exact_law import largest_difference, plain_law, speculative_law
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.loading import load_pair
from draftproof.models.protocol import CausalLM
from draftproof.models.vocabulary import compare_vocabularies
from draftproof.models.widened import WidenedLM
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping
from draftproof.trace import Verdict

ALL = len(WORDS) + 2


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("models") / "target")


def load(target, draft, report=print, **settings):
    arguments = {"dtype": "float64", "device": "cpu"} | settings
    return load_pair(RunConfig(target=str(target), draft=str(draft), **arguments), report)


def test_equal_vocabularies_in_another_order_are_equal():
    shared = compare_vocabularies({"a": 0, "b": 1}, {"b": 1, "a": 0})
    assert (shared.known, shared.missing, shared.extra) == ((0, 1), (), ())
    assert shared.notes("a") == ()


def test_missing_and_extra_ids_are_listed():
    shared = compare_vocabularies({"a": 0, "b": 1, "c": 3}, {"a": 0, "c": 3, "d": 4, "e": 2})
    assert shared.known == (0, 3)
    assert shared.missing == ((1, "b"),)
    assert shared.extra == ((2, "e"), (4, "d"))
    lacks, has = shared.notes("a")
    assert lacks.startswith("lacks 1 id (first 1, 'b') of the target: never proposed, and read as")
    assert has == "has 2 ids (first 2, 'e') that the target does not: never proposed"


def test_an_id_without_a_token_is_known_as_far_as_both_heads_reach():
    tokens = {"a": 0, "b": 3}
    assert compare_vocabularies(tokens, tokens).known == (0, 1, 2, 3)
    shared = compare_vocabularies(tokens, tokens, draft_rows=2)
    assert (shared.known, shared.missing) == ((0, 1), ((3, "b"),))
    assert compare_vocabularies(tokens, tokens, target_rows=2, draft_rows=8).known == (0, 1)


def test_another_token_for_an_id_is_refused_even_where_more_are_missing():
    with pytest.raises(ModelError, match=r"id 2 is 'c' for the target and 'x' for the draft"):
        compare_vocabularies({"a": 0, "b": 1, "c": 2, "d": 3}, {"a": 0, "x": 2, "y": 3})


def test_nothing_in_common_is_refused():
    with pytest.raises(ModelError, match="no token in common"):
        compare_vocabularies({"a": 0}, {"b": 1})


@pytest.mark.parametrize(("target_pads", "draft_pads"), [(6, 0), (0, 6), (6, 2)])
def test_padding_rows_of_a_head_cannot_be_proposed_or_emitted(tmp_path, target_pads, draft_pads):
    pair = load(
        save_checkpoint(tmp_path / "target", padded_by=target_pads),
        save_checkpoint(tmp_path / "draft", padded_by=draft_pads, seed=1),
    )
    for model, pads in ((pair.target, target_pads), (pair.draft, draft_pads)):
        assert isinstance(model, HuggingFaceLM)
        assert model.model.config.vocab_size == ALL + pads
        assert len(model.advance([2])) == ALL
        assert model.recompute([2, 3]).shape == (2, ALL)
        assert model.score([2, 3], [-1, -1]).shape == (2, ALL)
    assert "notes" not in pair.descriptions["draft"]


def test_another_tokenizer_names_the_first_differing_token(target, tmp_path):
    words = (*WORDS[:3], "other", *WORDS[4:])
    draft = save_checkpoint(tmp_path / "draft", words=words)
    with pytest.raises(ModelError, match=r"id 5 is 'd' for the target and 'other' for the draft"):
        load(target, draft)


def test_a_smaller_vocabulary_of_the_same_ids_is_allowed_and_said_so(target, tmp_path):
    draft = save_checkpoint(tmp_path / "draft", words=WORDS[:-2], seed=1, padded_by=9)
    lines = []
    pair = load(target, draft, lines.append)
    [note] = pair.descriptions["draft"]["notes"]
    assert note.startswith("lacks 2 ids (first 8, 'g') of the target: never proposed")
    assert "'<unk>'" in note
    assert f"draft: {note}" in lines
    assert isinstance(pair.draft, CausalLM)
    logits = pair.draft.advance([2, 9, 3])
    assert logits.shape == (ALL,)
    assert torch.isneginf(logits).nonzero()[:, 0].tolist() == [8, 9]
    torch.testing.assert_close(
        logits[:8], pair.draft.model(torch.tensor([[2, 0, 3]])).logits[0, -1, :8]
    )


def test_added_tokens_of_the_draft_model_are_never_proposed(target, tmp_path):
    draft = save_checkpoint(tmp_path / "draft", words=(*WORDS, "i", "j"), seed=1)
    pair = load(target, draft)
    assert len(pair.draft.advance([2])) == ALL
    [note] = pair.descriptions["draft"]["notes"]
    assert note == "has 2 ids (first 10, 'i') that the target does not: never proposed"


def with_head(folder, rows):
    """The same checkpoint with fewer rows of embeddings and head than its tokenizer has tokens."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(rows)
    model.save_pretrained(folder)
    return folder


def test_tokens_that_were_added_without_embeddings(target, tmp_path):
    short = with_head(save_checkpoint(tmp_path / "short"), ALL - 1)
    drafted = load(target, short).draft
    assert isinstance(drafted, WidenedLM)
    assert torch.isneginf(drafted.advance([2])).nonzero()[:, 0].tolist() == [ALL - 1]

    pair = load(short, target)
    assert pair.target.vocabulary_size == len(pair.draft.advance([2])) == ALL - 1
    assert pair.encode("a g") == (2, 8)
    with pytest.raises(ModelError, match=r"the token 'h' \(id 9\), which the tokenizer has"):
        pair.encode("a h")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("tree", ["chain:3", "3x2", "best-first:6,depth=3,branching=3"])
def test_runs_with_a_smaller_draft_vocabulary(target, tmp_path, tree, temperature):
    """Prompts and outputs hold ids that the draft model lacks; every step's state is checked."""
    draft = save_checkpoint(tmp_path / "draft", words=WORDS[:-3], seed=1)
    config = RunConfig(
        target=str(target),
        draft=str(draft),
        dtype="float64",
        device="cpu",
        tree=parse_tree(tree),
        sampling=Sampling(temperature=temperature),
        max_new_tokens=24,
        check_state=1.0,
    )
    pair = load_pair(config, lambda line: None)
    bench = Bench(ReferenceEngine(pair, config), pair, config)
    emitted = []
    for text in ("a h b", "g", "c d e f"):
        record = bench.run(Prompt(prompt_id=text, domain="letters", text=text))
        assert record.verdict is (Verdict.SAMPLED if temperature else Verdict.IDENTICAL)
        nodes = record.nodes
        assert set(nodes["token_id"].tolist()) <= set(range(ALL - 3))
        assert (nodes["draft_probability"] > 0).all()
        emitted += record.speculative.token_ids
    assert set(emitted) & {7, 8, 9}


@pytest.mark.parametrize("tree", ["chain:2", "distinct:1x2", "2x2"])
def test_the_law_of_the_output_is_the_targets(tmp_path, tree):
    """Enumerated, on a pair from disk: three ids of the target, of which the draft has two."""
    target = save_checkpoint(tmp_path / "target", words=("a", "b"))
    draft = save_checkpoint(tmp_path / "draft", words=("a",), seed=1)
    pair = load(target, draft)
    shape = parse_tree(tree)
    settings = {
        "sampling": Sampling(temperature=1.0),
        "stopping": Stopping(max_new_tokens=2, stop_token_ids=frozenset({1})),
    }
    drafter = make_drafter(shape, pair.draft)
    rule = make_rule("auto", shape, is_greedy=False)
    speculative = speculative_law((2, 3), pair.target, drafter, rule, **settings)
    assert sum(speculative.values()) == pytest.approx(1, abs=1e-9)
    assert any(3 in output.token_ids for output in speculative)
    assert largest_difference(plain_law((2, 3), pair.target, **settings), speculative) < 1e-9


def test_another_added_token_at_one_id_is_not_shared():
    target = {"<pad>": 0, "a": 1, "b": 2, "<tool>": 3}
    draft = {"[PAD]": 0, "a": 1, "b": 2, "<image>": 3}
    shared = compare_vocabularies(target, draft, added={0, 3})
    assert shared.known == (1, 2)
    assert shared.missing == shared.other == ((0, "<pad>"), (3, "<tool>"))
    first, _ = shared.notes("a")
    assert first == (
        "has another added token than the target for 2 ids (first 0, '<pad>'): not shared"
    )
    with pytest.raises(ModelError, match="id 0 is '<pad>' for the target and '\\[PAD\\]' for"):
        compare_vocabularies(target, draft, added={3})


def test_a_pair_with_other_padding_tokens_is_decoded_losslessly(tmp_path):
    """The padding token of the draft model has the id at which the target has another."""
    target = save_checkpoint(tmp_path / "target", stops=False)
    draft = save_checkpoint(tmp_path / "draft", seed=1, stops=False)
    for folder, token in ((target, "<pad>"), (draft, "[PAD]")):
        add_token(folder, token)
    config = RunConfig(
        target=str(target), draft=str(draft), device="cpu", max_new_tokens=12, check_state=1.0
    )
    pair = load_pair(config)
    assert any("another added token" in note for note in pair.descriptions["draft"]["notes"])
    prompt = Prompt(prompt_id="a/0", domain="chat", text="a b c d")
    record = Bench(ReferenceEngine(pair, config), pair, config).run(prompt)
    assert record.verdict is Verdict.IDENTICAL
    assert len(WORDS) + 2 not in record.nodes["token_id"].tolist()


def add_token(folder, token):
    """Adds a token after the last one, and a row for it to the model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder)
    made.add_special_tokens({"pad_token": token})
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(made), mean_resizing=False)
    model.save_pretrained(folder)
    made.save_pretrained(folder)
