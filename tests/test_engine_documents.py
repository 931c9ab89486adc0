"""docs/engines.md: its tables are made from the code, and its example runs."""

import importlib.util
import re
from pathlib import Path

import pytest

from draftproof.cli import main
from draftproof.config import RunConfig
from draftproof.data.load import load_prompts
from draftproof.engines.measuring import Bench
from draftproof.engines.names import BUILT_IN
from draftproof.engines.registry import make_engine
from draftproof.models.loading import load_pair
from draftproof.trace import Verdict

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def text():
    return (DOCS / "engines.md").read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_code(text):
    """When it fails: python docs/make_engines.py."""
    spec = importlib.util.spec_from_file_location("make_engines", DOCS / "make_engines.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page(text) == text


def test_every_engine_has_its_section(text):
    for name in BUILT_IN:
        assert re.search(rf"^\*\*[^*]*{name}[^*]*\*\*", text, re.MULTILINE), name


def test_its_example_runs_and_is_lossless(text, tmp_path, monkeypatch):
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (example,) = (each for each in examples if "class MyEngine" in each)
    (tmp_path / "my_engine.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    config = RunConfig(engine="my_engine:MyEngine", max_new_tokens=24)
    pair = load_pair(config, lambda line: None)
    bench = Bench(make_engine(pair, config), pair, config)
    accepted = 0
    for prompt in load_prompts("code", limit=3):
        record = bench.run(prompt)
        assert record.verdict is Verdict.IDENTICAL, record.message
        accepted += record.counts.accepted
    assert accepted > 0
    bench.engine.close()


def test_the_reproduction_of_a_missed_stop_string_reproduces_it(capsys):
    """When it fails, transformers has mended it: say so in docs/engines.md."""
    path = DOCS / "examples" / "transformers_stop_string.py"
    spec = importlib.util.spec_from_file_location("transformers_stop_string", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    models = (module.MODELS / name for name in ("builtin-target", "builtin-draft"))
    assert module.main(*map(str, models)) == 1
    plain, assisted = re.findall(r"^(?:plain|assisted) +'(.*)'$", capsys.readouterr().out, re.M)
    assert plain.endswith(module.STOP)
    assert assisted.startswith(plain)
    assert assisted != plain


def test_its_parts_have_the_exact_law(text, tmp_path, monkeypatch, capsys):
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (example,) = (each for each in examples if "class Bushy" in each)
    (tmp_path / "my_parts.py").write_text(example)
    monkeypatch.syspath_prepend(tmp_path)
    check = ["--check", "greedy output", "--limit", "1", "--max-new-tokens", "8"]
    assert main(["verify", "--drafter", "my_parts:Bushy", *check]) == 0
    assert main(["verify", "--rule", "my_parts:MyRule", "--tree", "chain:2", *check]) == 0
    assert "drafter my_parts:Bushy" in capsys.readouterr().out
