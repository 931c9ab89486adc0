"""Unpacked weights that are kept: the same model from them, and none that is damaged."""

from unittest.mock import patch

import pytest
import torch

from draftproof.assets import asset_path
from draftproof.config import RunConfig
from draftproof.models.gguf_contents import read_gguf
from draftproof.models.loading import load_pair
from draftproof.models.unpacked import VARIABLE, UnpackedWeights

pytest.importorskip("gguf", reason="the extra [gguf] is not installed")

import gguf
from gguf_writer import write_gguf


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The built-in target in a file, with rotary factors, which are no weights of the model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = asset_path("models", "builtin-target")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    turned = model.config.hidden_size // model.config.num_attention_heads // 2
    factors = torch.linspace(1, 3, turned).numpy()
    path = tmp_path_factory.mktemp("gguf") / "packed.gguf"
    return write_gguf(
        path,
        model,
        AutoTokenizer.from_pretrained(folder),
        "Q4_0",
        tensors=[("rope_freqs.weight", factors)],
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def loaded(path, **changes):
    lines = []
    pair = load_pair(RunConfig(target=str(path), check_state=0.0, **changes), lines.append)
    return pair, [line for line in lines if "unpacked" in line]


def logits(pair):
    pair.target.reset()
    return pair.target.advance((5, 6, 7, 8, 9))


def test_what_is_kept_is_the_same_model(packed, cache):
    first, told = loaded(packed)
    assert told == [f"unpacked weights are kept in {cache} ({VARIABLE})"]
    second, told = loaded(packed)
    [entry] = cache.iterdir()
    assert told == [f"packed.gguf was unpacked before: its weights are in {entry}"]
    assert second.descriptions == first.descriptions
    assert second.stop_token_ids == first.stop_token_ids
    ours, theirs = (pair.target.model.state_dict() for pair in (first, second))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The factors, too, which no weight holds.
    assert torch.equal(logits(first), logits(second))


def test_nothing_is_kept_unasked(packed, tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    _, told = loaded(packed)
    assert told == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["bit", "short", "gone", "more", "manifest"])
def test_what_is_damaged_is_not_believed(packed, cache, damage):
    first, _ = loaded(packed)
    [entry] = cache.iterdir()
    weights = entry / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "bit":
        content[-1000] ^= 1
        weights.write_bytes(content)
    elif damage == "short":
        weights.write_bytes(content[:-1])
    elif damage == "gone":
        weights.unlink()
    elif damage == "more":
        (entry / "model.safetensors.index.json").write_text("{}")
    else:
        (entry / "draftproof.json").write_text("[]")
    second, told = loaded(packed)
    assert told == [f"unpacked weights are kept in {cache} ({VARIABLE})"]
    assert torch.equal(logits(first), logits(second))
    assert loaded(packed)[1] == [f"packed.gguf was unpacked before: its weights are in {entry}"]


def test_another_dtype_and_another_file_are_kept_apart(packed, cache, tmp_path):
    loaded(packed)
    pair, told = loaded(packed, dtype="bfloat16")
    assert told == [f"unpacked weights are kept in {cache} ({VARIABLE})"]
    assert pair.target.model.dtype == torch.bfloat16
    assert len(list(cache.iterdir())) == 2
    assert UnpackedWeights(cache, "0" * 64, torch.float32).find() is None


def test_a_folder_that_cannot_be_written_is_no_error(packed, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    pair, [told] = loaded(packed)
    assert told.startswith(f"unpacked weights are not kept in {tmp_path / 'file'}: ")
    assert logits(pair).isfinite().all()


def test_a_file_is_read_once_and_again_when_it_has_changed(packed, tmp_path):
    """A vocabulary takes seconds to be read, and both the tokenizer and the model need it."""
    path = tmp_path / "copy.gguf"
    path.write_bytes(packed.read_bytes())
    with patch("gguf.GGUFReader", wraps=gguf.GGUFReader) as reader:
        first = read_gguf(path)
        assert read_gguf(path) is first
        assert reader.call_count == 1
        path.write_bytes(packed.read_bytes() + bytes(32))
        assert read_gguf(path) is not first
    assert reader.call_count == 2
