"""Loading a pair: what works, and one clear line for each way in which it cannot."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from checkpoints import WORDS, changed_weights, save_checkpoint
from families import REFUSED

from draftproof.config import RunConfig
from draftproof.errors import ModelError
from draftproof.models import checkpoint
from draftproof.models.checkpoint import content_hash
from draftproof.models.loading import choose_device, load_pair
from draftproof.models.source import ModelSource, SourceKind, model_source


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


def test_auto_dtype_is_the_checkpoints_own(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "is_slow_in", lambda dtype, device: False)
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


def test_missing_weights_are_refused_by_name(target, tmp_path, capfd):
    def drop(weights):
        for name in [name for name in weights if ".mlp." in name]:
            del weights[name]

    folder = changed_weights(save_checkpoint(tmp_path / "holes"), drop)
    message = (
        r"--spec-draft: .* has no model.layers.0.mlp.down_proj.weight, "
        r"model.layers.0.mlp.gate_proj.weight, model.layers.0.mlp.up_proj.weight; the files"
    )
    with pytest.raises(ModelError, match=message):
        load_pair(config(target, folder))
    assert capfd.readouterr().err == ""


def test_a_missing_head_is_refused_unless_it_is_tied(target, tmp_path):
    def drop(weights):
        del weights["lm_head.weight"]

    folder = changed_weights(save_checkpoint(tmp_path / "headless"), drop)
    with pytest.raises(ModelError, match=r"the checkpoint has no lm_head\.weight"):
        load_pair(config(folder, target))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"tie_word_embeddings": True}))
    pair = load_pair(config(folder, target))
    head = pair.target.model.get_output_embeddings().weight
    assert head is pair.target.model.get_input_embeddings().weight


def test_weights_of_another_shape_are_refused_by_name(target, tmp_path):
    def widen(weights):
        weights["model.norm.weight"] = torch.ones(5)

    folder = changed_weights(save_checkpoint(tmp_path / "wide"), widen)
    with pytest.raises(ModelError, match=r"model\.norm\.weight has shape \[5\] .* and \[16\]"):
        load_pair(config(folder, target))


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_the_hash_covers_the_files_that_change_behaviour(target, tmp_path, name):
    folder = tmp_path / "copy"
    shutil.copytree(target, folder)
    before, same = (
        load_pair(config(path, target)).descriptions["target"]["sha256"]
        for path in (target, folder)
    )
    assert before == same
    path = folder / name
    (folder / "README.md").write_text("of no consequence")
    path.write_text(path.read_text() + "\n")
    changed = load_pair(config(folder, target)).descriptions["target"]["sha256"]
    path.write_text(path.read_text()[:-1])
    again = load_pair(config(folder, target)).descriptions["target"]["sha256"]
    assert changed != before == again


def test_the_hash_covers_which_file_holds_what(tmp_path):
    hashes = set()
    for name in ("config.json", "tokenizer.json"):
        folder = tmp_path / name.removesuffix(".json")
        folder.mkdir()
        (folder / name).write_text("{}")
        hashes.add(content_hash(ModelSource("x", SourceKind.FOLDER, str(folder))))
    assert len(hashes) == 2


def test_models_that_cannot_score_a_tree_are_refused_before_decoding(target, tmp_path):
    family = next(family for family in REFUSED if family.kind == "mpt")
    folder = shutil.copytree(target, tmp_path / "mpt")
    family.model().save_pretrained(folder)
    with pytest.raises(ModelError, match="MptForCausalLM has ALiBi biases"):
        load_pair(config(target, folder))


def test_the_probe_is_part_of_loading(target, tmp_path, monkeypatch):
    family = next(family for family in REFUSED if family.kind == "mpt")
    folder = shutil.copytree(target, tmp_path / "mpt")
    family.model().save_pretrained(folder)
    monkeypatch.setattr("draftproof.models.hugging_face.require_tree_scoring", lambda model: None)
    with pytest.raises(ModelError, match="--spec-draft .*mpt: MptForCausalLM cannot score a tree"):
        load_pair(config(target, folder))


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
    source = model_source("org/model@v1.0/beta", "draft")
    assert (source.location, source.revision) == ("org/model", "v1.0/beta")
    assert model_source("org/model", "draft").revision is None


@pytest.mark.parametrize("name", ["org/model@", "@main", "org/model@a b"])
def test_a_revision_that_is_none(name):
    with pytest.raises(ModelError, match="org/model@revision"):
        model_source(name, "target")


def test_a_revision_is_the_one_that_is_loaded(tmp_path):
    """From a cache laid out as the hub's, offline: two revisions of one model."""
    repository = tmp_path / "hub" / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    for seed, name in enumerate(("main", "old")):
        commit = str(seed) * 40
        (repository / "refs" / name).write_text(commit)
        save_checkpoint(repository / "snapshots" / commit, seed=seed)
    code = (
        "from draftproof.config import RunConfig\n"
        "from draftproof.models.loading import load_pair\n"
        "config = RunConfig(target='some/model', draft='some/model@old', device='cpu')\n"
        "pair = load_pair(config)\n"
        "assert not (pair.target.advance([2]) == pair.draft.advance([2])).all()\n"
        "print([pair.descriptions[role]['commit'] for role in ('target', 'draft')])\n"
        "print(len({pair.descriptions[role]['sha256'] for role in ('target', 'draft')}))\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [str(["0" * 40, "1" * 40]), "2"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(ModelError, match="sees no such device here; use --spec-device auto"):
        choose_device("cuda")
