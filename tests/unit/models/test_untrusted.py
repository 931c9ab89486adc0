"""Models that come with code, pickles or hostile templates: none of it runs."""

import json
import pickle

import pytest
from checkpoints import save_checkpoint

from draftproof.config import RunConfig
from draftproof.errors import ModelError
from draftproof.models import checkpoint
from draftproof.models.loading import load_pair
from draftproof.models.source import ModelSource, SourceKind

MODEL_CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own-{number}"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def config(folder, **settings):
    return RunConfig(target=str(folder), draft=str(folder), device="cpu", **settings)


@pytest.fixture
def with_code(tmp_path):
    """A checkpoint whose architecture is a Python file beside it, and what that file leaves."""
    folder, mark = save_checkpoint(tmp_path / "own"), tmp_path / "mark"
    code = MODEL_CODE.format(mark=str(mark), number=abs(hash(str(tmp_path))))
    (folder / "modeling_own.py").write_text(code)
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    settings["model_type"] = f"own-{abs(hash(str(tmp_path)))}"
    settings["auto_map"] = {
        "AutoConfig": "modeling_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnModel",
    }
    path.write_text(json.dumps(settings))
    return folder, mark


def test_code_of_a_model_is_not_run_and_the_option_is_named(with_code):
    folder, mark = with_code
    with pytest.raises(ModelError) as caught:
        load_pair(config(folder))
    message = str(caught.value)
    assert "it comes with Python code of its own, which was not run" in message
    assert message.endswith("add --spec-trust-remote-code if you trust it)")
    assert "\n" not in message
    assert not mark.exists()


def test_code_of_a_model_runs_only_with_the_option(with_code, tmp_path, monkeypatch):
    folder, mark = with_code
    modules = str(tmp_path / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules)
    pair = load_pair(config(folder, trust_remote_code=True))
    assert mark.read_text() == "ran"
    assert pair.descriptions["target"]["architecture"] == "OwnModel"


def test_code_of_a_tokenizer_is_not_run(tmp_path):
    folder, mark = save_checkpoint(tmp_path / "own"), tmp_path / "mark"
    (folder / "tokenization_own.py").write_text(MODEL_CODE.format(mark=str(mark), number=0))
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["tokenizer_class"] = "OwnTokenizer"
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}
    path.write_text(json.dumps(settings))
    try:
        load_pair(config(folder))
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017
    assert not mark.exists()


class Harmful:
    """Unpickling it writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (self.mark, "w"))


def test_pickled_weights_are_refused_with_the_command_that_converts_them(tmp_path):
    folder, mark = save_checkpoint(tmp_path / "own"), tmp_path / "mark"
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(str(mark))))
    with pytest.raises(ModelError, match=r"holds pickled weights.*save_pretrained\('OUT'\)"):
        load_pair(config(folder))
    assert not mark.exists()


def test_a_pickle_beside_safetensors_is_left_alone(tmp_path):
    folder, mark = save_checkpoint(tmp_path / "own"), tmp_path / "mark"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(str(mark))))
    load_pair(config(folder))
    assert not mark.exists()


@pytest.mark.parametrize(
    "named",
    ["pytorch_model.bin", "../elsewhere/model.safetensors", "/tmp/model.safetensors", 3, None,
     "sub/model.safetensors", "model.safetensors\x1b[2J.bin", ".safetensors"],
)  # fmt: skip
def test_an_index_that_names_anything_but_safetensors_beside_it_is_refused(tmp_path, named):
    """A pickle that it names is opened, whatever safetensors lie beside it."""
    folder, mark = save_checkpoint(tmp_path / "own"), tmp_path / "mark"
    (weights,) = folder.glob("*.safetensors")
    weights.rename(folder / "decoy.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(str(mark))))
    index = {"metadata": {}, "weight_map": {"a": "decoy.safetensors", "model.norm.weight": named}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(
        ModelError, match=r"index\.json names .* no safetensors file beside"
    ) as said:
        load_pair(config(folder))
    assert "\x1b" not in str(said.value)
    assert not mark.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', "[" * 100_000])
def test_an_index_that_is_none_is_refused(tmp_path, content):
    folder = save_checkpoint(tmp_path / "own")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match="has no weight_map; download it again"):
        load_pair(config(folder))


def test_the_index_of_a_model_on_the_hub_is_looked_at_before_what_it_names(tmp_path, monkeypatch):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    monkeypatch.setattr(checkpoint, "cached_file", lambda *_, **__: str(index))
    source = ModelSource("org/model", SourceKind.HUB, "org/model")
    with pytest.raises(ModelError, match=r"org/model names 'pytorch_model\.bin'"):
        checkpoint._require_safe_index(source)


TEMPLATES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "{{ self._TemplateReference__context.environment.from_string('x') }}{{ dict.__globals__ }}",
    "{{ messages.append(1) }}",
    "{% for a in range(10**9) %}x{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{{ open('/etc/passwd').read() }}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_hostile_chat_template_is_rendered_in_the_sandbox(tmp_path, template):
    mark = tmp_path / "mark"
    hostile = template.replace("MARK", str(mark))
    pair = load_pair(config(save_checkpoint(tmp_path / "own", chat_template=hostile)))
    with pytest.raises(ModelError, match="the target's chat template cannot be rendered"):
        pair.encode("a b")
    assert not mark.exists()
