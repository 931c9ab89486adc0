"""Arguments that cannot be used, and what importing the package costs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from draftproof.data import load_prompts
from draftproof.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[3]


def test_an_unknown_domain_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"domain: unknown value 'maths'; did you mean 'math'\?"):
        load_prompts("maths")


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"-prompts: unknown value 'reel'; did you mean 'real'\?"):
        load_prompts("math", source="reel")


def test_a_folder_for_the_builtin_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data_dir: .* name a public data set"):
        load_prompts("math", data_dir=tmp_path)


@pytest.mark.parametrize("source", ["builtin", "real"])
def test_a_limit_below_one_is_refused_before_anything_is_read(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("draftproof.data.load.builtin_records")
    monkeypatch.delattr("draftproof.data.load.real_records")
    with pytest.raises(UsageError, match="limit: 0 prompts"):
        load_prompts("math", source=source, limit=0)


def test_importing_the_package_is_cheap() -> None:
    script = (
        "import sys, draftproof.data; heavy = {'datasets', 'huggingface_hub', 'numpy', 'pandas', "
        "'pyarrow', 'torch', 'transformers'}; print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == ""
