"""What a model can do is found by running it: its cache, its rows, its masks, and whether it looks
ahead. No name in a signature and no number left over in a configuration decides."""

import copy

import pytest
import torch
from families import VOCABULARY, WINDOW, WORKING
from strategies import tiny_llama
from transformers import AutoModelForCausalLM, BertConfig, Gemma3TextConfig, LlamaForCausalLM

from draftproof.errors import ModelError
from draftproof.models.calling import MaskForm, find_calling
from draftproof.models.checked import CheckedLM
from draftproof.models.families import context_length, family_notes
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.probe import probe_tree_scoring

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


def llama(kind=LlamaForCausalLM, **settings):
    """A tiny Llama of a class that is called in some way of its own."""
    model = copy.deepcopy(tiny_llama(0, vocabulary=VOCABULARY)).float()
    for name, value in settings.items():
        setattr(model.config, name, value)
    model.__class__ = kind
    return model


def family(name):
    return next(family for family in WORKING if family.name == name)


def exercised(model):
    """Rows of a prompt, a tree and a commit, each held to a recompute."""
    lm = HuggingFaceLM(model)
    probe_tree_scoring(lm)
    checked = CheckedLM(lm, "target")
    checked.advance(TOKENS)
    checked.score((7, 8, 9, 1), (-1, -1, 0, 1))
    checked.commit((1, 3))
    checked.advance([2, 2])
    return lm


class CallsItCache(LlamaForCausalLM):
    """As in `transformers` from 5.24 on."""

    def forward(self, input_ids=None, cache=None, **arguments):
        self.seen = cache is not None
        name = "cache" if "cache" in _names() else "past_key_values"
        return super().forward(input_ids=input_ids, **{name: cache}, **arguments)


class CallsItPast(LlamaForCausalLM):
    """As before, and as code that comes with a checkpoint does; drops names it does not know."""

    def forward(self, input_ids=None, past_key_values=None, **arguments):
        arguments.pop("cache", None)
        name = "cache" if "cache" in _names() else "past_key_values"
        return super().forward(input_ids=input_ids, **{name: past_key_values}, **arguments)


def _names():
    import inspect

    return inspect.signature(LlamaForCausalLM.forward).parameters


class KnowsNoRows(LlamaForCausalLM):
    """Does not take how many rows of logits are asked for."""

    def forward(self, input_ids=None, position_ids=None, attention_mask=None, **arguments):
        if "logits_to_keep" in arguments:
            raise TypeError("forward() got an unexpected keyword argument 'logits_to_keep'")
        return super().forward(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            **arguments,
        )


class IgnoresRows(KnowsNoRows):
    """Takes it, and returns all of them."""

    def forward(self, logits_to_keep=0, **arguments):
        return super().forward(**arguments)


class KeepsTheFirstRows(LlamaForCausalLM):
    """Returns as many rows as are asked for, and the wrong ones."""

    def forward(self, logits_to_keep=0, **arguments):
        output = super().forward(**arguments)
        if logits_to_keep:
            output.logits = output.logits[:, :logits_to_keep]
        return output


class ReversesTheLastRows(KeepsTheFirstRows):
    """A single row is right."""

    def forward(self, logits_to_keep=0, **arguments):
        output = LlamaForCausalLM.forward(self, **arguments)
        if logits_to_keep:
            output.logits = output.logits[:, -logits_to_keep:].flip(1)
        return output


@pytest.mark.parametrize(
    ("kind", "argument"), [(CallsItCache, "cache"), (CallsItPast, "past_key_values")]
)
def test_the_cache_goes_by_the_name_that_fills_it(kind, argument):
    model = llama(kind)
    assert find_calling(model).cache_argument == argument
    exercised(model)


@pytest.mark.parametrize("kind", [KnowsNoRows, IgnoresRows, KeepsTheFirstRows, ReversesTheLastRows])
def test_the_last_row_is_the_last_tokens_whatever_is_returned(kind):
    """A row for each token came back, and the first of them was taken for the last."""
    model, usual = llama(kind), llama()
    assert not find_calling(model).keeps_rows
    assert find_calling(usual).keeps_rows
    exercised(model)
    rows = [HuggingFaceLM(each).advance(TOKENS) for each in (model, usual)]
    torch.testing.assert_close(*rows, rtol=1e-5, atol=1e-5)


def test_a_model_that_takes_no_positions_says_so():
    class TakesNoPositions(LlamaForCausalLM):
        def forward(self, input_ids=None, **arguments):
            if "position_ids" in arguments:
                raise TypeError("forward() got an unexpected keyword argument 'position_ids'")
            return super().forward(input_ids=input_ids, **arguments)

    with pytest.raises(ModelError, match="takes no position ids, so the branches of a tree"):
        HuggingFaceLM(llama(TakesNoPositions))


def test_a_model_that_drops_positions_or_masks_is_found():
    class DropsPositions(LlamaForCausalLM):
        def forward(self, input_ids=None, position_ids=None, **arguments):
            return super().forward(input_ids=input_ids, **arguments)

    class DropsMasks(LlamaForCausalLM):
        def forward(self, input_ids=None, attention_mask=None, **arguments):
            return super().forward(input_ids=input_ids, **arguments)

    for kind in (DropsPositions, DropsMasks):
        with pytest.raises(ModelError, match="cannot score a tree: it tells equal siblings apart"):
            probe_tree_scoring(HuggingFaceLM(llama(kind)))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_window_that_the_architecture_does_not_read_is_no_window(attention):
    model = llama(sliding_window=WINDOW, layer_types=["sliding_attention"] * 2)
    model.set_attn_implementation(attention)
    calling = find_calling(model)
    assert (calling.mask_form, calling.window) == (MaskForm.FULL, 0)
    exercised(model)
    # What was tried is put back.
    assert model.config.sliding_window == WINDOW


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Mistral", MaskForm.WINDOWED),
        ("Phi-3, Phi-4", MaskForm.WINDOWED),
        ("Gemma 2", MaskForm.BY_LAYER_TYPE),
        ("gpt-oss", MaskForm.BY_LAYER_TYPE),
        ("Qwen2, Qwen2.5 with windows", MaskForm.BY_LAYER_TYPE),
        ("Qwen2, Qwen2.5", MaskForm.FULL),
    ],
)
def test_windows_are_those_that_the_layers_have(name, form):
    calling = find_calling(family(name).model())
    assert calling.mask_form is form
    assert calling.window == (0 if form is MaskForm.FULL else WINDOW)


def test_windows_that_no_mask_of_ours_fits_are_refused():
    class HalfAWindow(type(family("Mistral").model())):
        """Its window is the stated one, less one token."""

        def forward(self, input_ids=None, attention_mask=None, **arguments):
            if attention_mask is None:
                places = torch.arange(input_ids.shape[1])
                distance = places[:, None] - places[None, :]
                seen = (distance >= 0) & (distance < self.config.sliding_window - 1)
                attention_mask = torch.zeros(distance.shape).masked_fill(
                    ~seen, torch.finfo(torch.float32).min
                )[None, None]
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, **arguments)

    model = family("Mistral").model()
    model.__class__ = HalfAWindow
    with pytest.raises(ModelError, match="has sliding windows, of 5 tokens by its configuration"):
        HuggingFaceLM(model)


def test_code_of_a_checkpoints_own_is_limited_to_a_window_that_does_not_show():
    """It may have read the window when the model was made."""

    class OfItsOwn(LlamaForCausalLM):
        __module__ = "remote_code.modeling"

    model = llama(OfItsOwn, sliding_window=50)
    assert HuggingFaceLM(model).max_length == 50
    assert context_length(llama(sliding_window=50), 0) == 256
    assert "a sliding window that its configuration states" in " ".join(family_notes(model, 50))


def bert():
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=64,
        is_decoder=False,
    )
    return AutoModelForCausalLM.from_config(config)


def gemma():
    arguments = family("Gemma 3, text").arguments
    config = Gemma3TextConfig(
        **arguments | {"use_bidirectional_attention": True, "sliding_window": 32}
    )
    return AutoModelForCausalLM.from_config(config)


class LooksAhead(LlamaForCausalLM):
    """Every token sees all others, where it may make the mask itself."""

    def forward(self, input_ids=None, attention_mask=None, **arguments):
        if attention_mask is None and input_ids.shape[1] > 1:
            attention_mask = torch.zeros(1, 1, input_ids.shape[1], input_ids.shape[1])
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, **arguments)


@pytest.mark.parametrize("make", [bert, gemma, lambda: llama(LooksAhead)])
def test_a_model_that_looks_ahead_is_refused(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().eval()
    with pytest.raises(ModelError, match="attends in both directions: another last token of 8 mov"):
        HuggingFaceLM(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_that_hardly_looks_ahead_is_refused_whatever_its_type(dtype):
    """Rounding of these types is coarser than what the last token does here."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = bert().eval().to(dtype)
    with pytest.raises(ModelError, match=r"another last token of 8 moves .* by 0\.0"):
        HuggingFaceLM(model)


@pytest.mark.parametrize("name", ["Mixtral", "gpt-oss", "DeepSeek-V3, R1"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_experts_that_rounding_tips_over_are_no_fault(name, dtype):
    lm = HuggingFaceLM(family(name).model().to(dtype))
    probe_tree_scoring(lm)


class WrongInTheEnd(HuggingFaceLM):
    """Right in the tree, and wrong in what is kept of it."""

    def commit(self, path):
        self._cache.keep(self._length, range(len(path)))
        self._length += len(path)
        self._pending = ()


def test_the_probe_goes_on_after_a_commit():
    with pytest.raises(ModelError, match="differ by .* from those of the same 5 tokens without"):
        probe_tree_scoring(WrongInTheEnd(llama()))


@pytest.mark.parametrize("kind", [LlamaForCausalLM, KnowsNoRows, KeepsTheFirstRows])
def test_the_last_rows_of_a_recompute_are_those_of_all_rows(kind):
    lm = HuggingFaceLM(llama(kind))
    every = lm.recompute(TOKENS)
    for first in range(len(TOKENS)):
        torch.testing.assert_close(lm.recompute(TOKENS, first), every[first:], rtol=1e-5, atol=1e-5)


def test_no_other_rows_are_computed():
    lm = HuggingFaceLM(llama())
    scored = []
    lm.model.lm_head.register_forward_pre_hook(lambda head, given: scored.append(given[0].shape[1]))
    lm.recompute(TOKENS, len(TOKENS) - 2)
    assert scored == [2]
