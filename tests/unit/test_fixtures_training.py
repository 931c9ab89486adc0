"""The text generators: the built-in prompts stay out of the training text; the rest is sound."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MARKS = ("<|user|>", "<|assistant|>", "<|end|>")


@pytest.fixture(scope="module")
def documents() -> list[str]:
    """Return the first documents of the training text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from fixtures.training.corpus import Corpus

        return list(itertools.islice(Corpus(7, held_out=8).training(), 4000))


def test_no_built_in_prompt_is_trained_on(
    documents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from fixtures.training.corpus import prompt_texts

    prompts = {text for texts in prompt_texts().values() for text in texts}
    asked = {document.split(MARKS[1])[0].removeprefix(MARKS[0]) for document in documents}
    assert len(prompts) == 200
    assert not prompts & asked


def test_documents_have_one_question_and_one_answer(documents: list[str]) -> None:
    for document in documents:
        assert [document.count(mark) for mark in MARKS] == [1, 1, 1]
        assert document.startswith(MARKS[0])
        assert document.endswith(MARKS[2])


def test_documents_vary(documents: list[str]) -> None:
    assert len(set(documents)) > 0.9 * len(documents)


def test_corpus_repeats_from_its_seed(
    documents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from fixtures.training.corpus import Corpus

    assert list(itertools.islice(Corpus(7, held_out=8).training(), 50)) == documents[:50]
    assert list(itertools.islice(Corpus(8, held_out=8).training(), 50)) != documents[:50]


def test_prompt_files_are_what_the_script_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from fixtures.training.make_prompts import main

    main(["--out", str(tmp_path)])
    for made in sorted(tmp_path.iterdir()):
        assert made.read_text("utf-8") == (ROOT / "fixtures/prompts" / made.name).read_text("utf-8")


def test_templated_functions_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from fixtures.training import code_text

    rng = random.Random(3)
    for _ in range(500):
        code = code_text.draw(rng).response.split("```python\n")[1].split("```")[0]
        compile(code, "template", "exec")


def test_vary_takes_every_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from fixtures.training.text import vary

    rng = random.Random(0)
    assert {vary(rng, "[a|b [c|d]]") for _ in range(200)} == {"a", "b c", "b d"}
