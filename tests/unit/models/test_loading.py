"""Loading a pair: what works, and one clear line for each way in which it cannot."""

import pytest
import torch
from checkpoints import WORDS, save_checkpoint

from harness.config import RunConfig
from harness.errors import ModelError
from harness.models.loading import choose_device, load_pair
from harness.models.source import SourceKind, model_source
from harness.models.vocabulary import require_same_vocabulary


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("models") / "target")


def config(target, draft, **settings):
    return RunConfig(target=str(target), draft=str(draft), device="cpu", **settings)


def test_a_pair_of_folders(target, tmp_path):
    draft = save_checkpoint(tmp_path / "draft", seed=1)
    lines = []
    pair = load_pair(config(target, draft, dtype="float32"), lines.append)
    assert pair.encode("a b") == (2, 3)
    assert pair.decode([2, 3]) == "a b"
    assert pair.stop_token_ids == {1}
    assert pair.target.vocabulary_size == len(WORDS) + 2
    assert [line.split()[:2] for line in lines] == [["loading", "target"], ["loading", "draft"]]
    hashes = {pair.descriptions[role]["sha256"] for role in ("target", "draft")}
    assert len(hashes) == 2
    assert pair.descriptions["target"]["dtype"] == "float32"


def test_auto_dtype_is_the_checkpoints_own(tmp_path):
    from transformers import AutoModelForCausalLM

    folder = save_checkpoint(tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    pair = load_pair(config(folder, folder))
    assert pair.descriptions["target"]["dtype"] == "bfloat16"


def test_a_chat_template_is_applied_where_there_is_one(tmp_path):
    template = (
        "{% for m in messages %}a {{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %} b{% endif %}"
    )
    folder = save_checkpoint(tmp_path / "chat", chat_template=template)
    pair = load_pair(config(folder, folder))
    assert pair.encode("c d") == (2, 4, 5, 3)


def test_padding_rows_of_the_head_cannot_be_proposed_or_emitted(target, tmp_path):
    padded = save_checkpoint(tmp_path / "padded", padded_by=6)
    pair = load_pair(config(padded, target))
    assert pair.target.model.config.vocab_size == len(WORDS) + 8
    assert len(pair.target.advance([2])) == len(WORDS) + 2
    assert pair.target.recompute([2, 3]).shape == (2, len(WORDS) + 2)


def test_a_draft_with_another_tokenizer_names_the_first_differing_token(target, tmp_path):
    words = (*WORDS[:3], "other", *WORDS[4:])
    draft = save_checkpoint(tmp_path / "draft", words=words)
    with pytest.raises(ModelError, match=r"id 5 is 'd' for the target and 'other' for the draft"):
        load_pair(config(target, draft))


def test_a_draft_with_fewer_tokens_names_the_first_missing_one(target, tmp_path):
    draft = save_checkpoint(tmp_path / "draft", words=WORDS[:-1])
    with pytest.raises(ModelError, match=r"id 9 is 'h' for the target and no token for the draft"):
        load_pair(config(target, draft))


def test_equal_vocabularies_in_another_order_are_equal():
    require_same_vocabulary({"a": 0, "b": 1}, {"b": 1, "a": 0})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/folder/here", "there is no folder no/such/folder/here"),
        ("./missing", r"there is no folder \./missing"),
        ("missing.gguf", "cannot read missing.gguf: No such file"),
    ],
)
def test_a_name_that_stands_for_nothing(name, message):
    with pytest.raises(ModelError, match=message):
        model_source(name, "target")


def test_a_gguf_that_is_not_one(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="--spec-draft: .* is not a GGUF file"):
        model_source(str(path), "draft")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="has no config.json"):
        model_source(str(tmp_path), "target")


def test_pickled_weights_are_refused(tmp_path):
    folder = save_checkpoint(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights, which can run code"):
        model_source(str(folder), "target")


def test_a_file_that_is_no_gguf(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"")
    with pytest.raises(ModelError, match=r"is a file, but not a \.gguf"):
        model_source(str(path), "target")


def test_corrupt_weights_give_one_line(target, tmp_path):
    folder = save_checkpoint(tmp_path / "corrupt")
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="--spec-target: cannot load the model of") as caught:
        load_pair(config(folder, target))
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_says_what_to_do(target):
    with pytest.raises(ModelError, match="download the model elsewhere and give its folder"):
        load_pair(config("someone/some-model", target))


def test_hub_ids_are_recognised():
    assert model_source("org/model-1.5B", "target").kind is SourceKind.HUB
    assert model_source("gpt2", "target").files == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(ModelError, match="sees no such device here; use --spec-device auto"):
        choose_device("cuda")
