"""Import direction, import cost, public names, and documents that must stay complete."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import draftproof

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "harness"
PACKAGE = SOURCES / "draftproof"

LAYERS = (
    {"differences", "errors", "paths", "files", "folder_lock", "summed_lines", "wording"},
    {"laws", "prompt_sources", "choices"},
    {"shapes"},
    {"budget"},
    {"config", "assets"},
    {
        "tree",
        "transfer",
        "categorical",
        "column_slices",
        "continuation",
        "randomness",
        "draw_log",
        "enumeration",
        "trace",
        "journal",
        "environment",
        "stopwatch",
        "supervision",
        "token_texts",
        "data",
        "scoring",
        "sampling",
    },
    {"models", "stopping"},
    {"drafting"},
    {"acceptance"},
    {"decoding"},
    {"recording", "lossless", "statistics"},
    {"batch"},
    {"engines"},
    {"replay", "executors"},
    {"report", "gate", "history", "planning"},
    {"importing"},
    {"plugin", "cli", "conformance", "kernels", "selftest", "__main__"},
)
"""Each part may import from its own layer and from those above it in this list."""

TORCH_FREE = (
    "draftproof",
    "draftproof.assets",
    "draftproof.budget",
    "draftproof.cli",
    "draftproof.cli.advising",
    "draftproof.cli.replaying",
    "draftproof.config",
    "draftproof.data",
    "draftproof.errors",
    "draftproof.gate",
    "draftproof.importing",
    "draftproof.journal",
    "draftproof.laws",
    "draftproof.lossless.evidence",
    "draftproof.models.source",
    "draftproof.models.vocabulary",
    "draftproof.plugin",
    "draftproof.plugin.reporter",
    "draftproof.replay.advice_text",
    "draftproof.replay.notes",
    "draftproof.replay.steps",
    "draftproof.replay.storage",
    "draftproof.report",
    "draftproof.planning",
    "draftproof.prompt_sources",
    "draftproof.report.page",
    "draftproof.scoring",
    "draftproof.scoring.sandbox",
    "draftproof.shapes",
    "draftproof.statistics",
    "draftproof.trace",
    "draftproof.tree",
)


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path):
    """Every module that a file imports, type-checking imports included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layer_of(module):
    part = module.split(".")[1]
    return next(index for index, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_one_way(path):
    own = name_of(path)
    if own == "draftproof":
        return
    for module in imported_modules(path):
        if module.startswith("draftproof."):
            assert layer_of(module) <= layer_of(own), f"{own} imports {module}"


def test_no_modules_import_each_other():
    """In a circle of any length, inside functions too; what only annotates is no import."""
    by_name = {name_of(path): path for path in modules()}
    graph = {
        name: {module for module in really_imported(path, by_name) if module != name}
        for name, path in by_name.items()
    }
    graphlib.TopologicalSorter(graph).prepare()


def really_imported(path, by_name):
    """Modules of the package that a file imports when it runs."""
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.module in by_name:
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                yield member if member in by_name else node.module


@pytest.mark.parametrize("module", TORCH_FREE)
def test_importing_costs_neither_torch_nor_transformers(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_loading_the_plugin_imports_neither_torch_nor_transformers(tmp_path):
    (tmp_path / "test_own.py").write_text(
        "import sys\n\n"
        "def test_own():\n"
        "    assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:jaxtyping", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout


def test_public_names_are_sorted_and_there():
    assert draftproof.__all__ == sorted(draftproof.__all__)
    assert set(dir(draftproof)) >= set(draftproof.__all__)
    for name in draftproof.__all__:
        assert getattr(draftproof, name).__doc__, name


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        draftproof.no_such_name  # noqa: B018


def module_table():
    """One row a module: its name, and the first line of its docstring."""
    rows = ["| module | what it is |", "|---|---|"]
    for path in modules():
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        rows.append(f"| `{name_of(path)}` | {docstring.splitlines()[0]} |")
    return "\n".join(rows) + "\n"


def test_the_architecture_document_has_one_sentence_a_module():
    """When it fails: python tests/test_architecture.py prints the table to paste."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    start = text.index("| module |")
    assert text[start : text.index("\n\n", start) + 1] == module_table()


def test_no_module_is_longer_than_500_lines():
    for path in modules():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


if __name__ == "__main__":
    print(module_table(), end="")
