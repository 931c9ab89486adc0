"""What messages and help advise exists where they are printed: options, and pages."""

import ast
import io
import re
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from draftproof.assets import documents
from draftproof.cli import main
from draftproof.cli.main import build_parser
from draftproof.plugin.options import OPTIONS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "harness" / "draftproof"

OF_PYTEST = {option.flag for option in OPTIONS}

OF_BUBBLEWRAP = (
    "--as-pid",
    "--cap-add",
    "--cap-drop",
    "--chdir",
    "--dev-bind",
    "--die-with-parent",
    "--dir",
    "--gid",
    "--hostname",
    "--new-session",
    "--perms",
    "--remount-ro",
    "--ro-bind",
    "--size",
    "--symlink",
    "--tmpfs",
    "--uid",
    "--unshare",
    "--unshare-user",
)
OF_OTHERS = {
    **dict.fromkeys(OF_BUBBLEWRAP, "bubblewrap"),
    "--format": "git",
    "--is-shallow-repository": "git",
    "--no-show-signature": "git",
    "--porcelain": "git",
    "--quiet": "git",
    "--short": "git",
    "--untracked-files": "git",
    "--draft-max": "llama.cpp",
    "--force-reinstall": "pip",
    "--junitxml": "pytest",
    "--model-draft": "llama.cpp",
    "--pyargs": "pytest",
    "--per-request-spec-decode-metrics": "vLLM",
    "--speculative-algorithm": "SGLang",
    "--speculative-config": "vLLM",
    "--speculative-eagle-topk": "SGLang",
    "--speculative-num-draft-tokens": "SGLang",
    "--speculative-num-steps": "SGLang",
    "--version": "pytest",
    "--append-result": "vLLM",
    "--save-result": "vLLM",
    "--output": "llama.cpp's speed_bench.py",
}

NOT_OF_A_VERIFICATION = {
    "--spec-top-k": "a setting that only pytest can give wrongly",
    "--spec-top-p": "a setting that only pytest can give wrongly",
    "--spec-min-p": "a setting that only pytest can give wrongly",
    "--spec-repetition-penalty": "a setting that only pytest can give wrongly",
    "--spec-min-new-tokens": "checks that an engine cannot be asked are not available",
    "--spec-stop": "checks that an engine cannot be asked are not available",
    "--spec-check-state": "a setting that only pytest can give wrongly",
    "--spec-log-draws": "a setting that only pytest can give",
    "--spec-turns": "a setting that only pytest can give wrongly",
    "--spec-batch": "a setting that only pytest can give wrongly",
    "--spec-concurrency": "a setting that only pytest can give wrongly",
    "--spec-budget": "a setting that only pytest can give",
}
"""Options in messages of modules that `draftproof verify` runs, and why it never prints them."""

USED_BY_VERIFY = (
    "acceptance",
    "config.py",
    "conformance",
    "data",
    "decoding.py",
    "drafting",
    "engines",
    "errors.py",
    "lossless",
    "models",
    "prompt_sources.py",
    "sampling.py",
    "scoring",
    "shapes.py",
)


def texts(path):
    """The strings of a module with their lines, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node.lineno, node.value


def modules(*parts):
    for part in parts:
        path = PACKAGE / part
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def advised(path):
    """Options that a module's texts name; ``--spec-`` alone is completed at run time."""
    for line, text in texts(path):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text):
            if option != "--spec":
                yield f"{path.relative_to(PACKAGE)}:{line}", option, text


def flags_of(command):
    """Every option that a command of ``draftproof`` takes."""
    (commands,) = (a for a in build_parser()._actions if a.dest == "command")
    return {flag for a in commands.choices[command]._actions for flag in a.option_strings}


def test_every_advised_option_of_a_pytest_run_is_one():
    commands = (
        "verify", "compare", "plan", "selftest", "metrics", "record", "replay", "advise",
        "verify-kernel", "import",
        "history", "report",
    )  # fmt: skip
    own = {flag for name in commands for flag in flags_of(name)}
    seen = 0
    for path in modules("."):
        if path.parent.name == "cli":
            continue
        for where, option, _ in advised(path):
            seen += 1
            known = option in OF_PYTEST if option.startswith("--spec") else option in own
            assert known or option in OF_PYTEST or option in OF_OTHERS, f"{where}: {option}"
    assert seen > 100


def test_every_option_that_a_kernels_verification_advises_is_its_own():
    named = [(where, option) for path in modules("kernels") for where, option, _ in advised(path)]
    assert len(named) >= 4
    for where, option in named:
        assert option in flags_of("verify-kernel"), f"{where}: {option}"


def test_every_option_that_a_verification_advises_is_its_own():
    allowed = flags_of("verify") | set(OF_OTHERS) | set(NOT_OF_A_VERIFICATION)
    for path in modules(*USED_BY_VERIFY):
        for where, option, text in advised(path):
            assert option in allowed or f"pytest {option}" in text, f"{where}: {option}"
    # No exception is left that has become an option.
    assert not flags_of("verify") & set(NOT_OF_A_VERIFICATION)


def test_every_option_that_a_comparison_advises_is_its_own_or_pytests():
    """What only a new run can change is said to be an option of pytest."""
    files = ("gate", "report/comparison_text.py", "report/page/comparison.py")
    for path in modules(*files):
        for where, option, text in advised(path):
            named = f"pytest {option}" in text or text.startswith(f"{option}:")
            assert option in flags_of("compare") or named, f"{where}: {option}"


def test_every_option_that_a_plan_advises_is_its_own_or_pytests():
    named = [each for path in modules("planning") for each in advised(path)]
    assert len(named) >= 8
    for where, option, text in named:
        assert option in flags_of("plan") | OF_PYTEST, f"{where}: {option} in {text}"


def test_an_option_has_one_name_in_every_command():
    """Where a command and pytest share a setting, both spellings are the command's."""
    for command in ("verify", "compare"):
        flags = flags_of(command)
        for flag in flags & OF_PYTEST:
            short = {"--spec-compare-anyway": "--anyway"}.get(flag, flag.replace("--spec-", "--"))
            assert short in flags, f"{command}: {flag}"
        # What pytest has an option of its own for (-x, -k) or writes elsewhere.
        own = {"--json", "--markdown", "--html", "--check", "--fail-fast", "--help", "--anyway"}
        for flag in flags - own:
            if not flag.startswith("--spec-") and flag.startswith("--"):
                known = f"{flag.replace('--', '--spec-', 1)}" in OF_PYTEST
                assert known or flag == "--prompts-per-domain", f"{command}: {flag}"
    assert "--prompts-per-domain" not in helped("verify", "--help")


def helped(*words):
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(list(words)) == 0
    return out.getvalue()


def test_every_page_that_a_text_names_is_printed_by_the_command():
    pages = documents()
    named = []
    for path in modules("."):
        for line, text in texts(path):
            where = f"{path.relative_to(PACKAGE)}:{line}"
            assert (
                not re.search(r"docs/\w+\.md", text)
                or "PAGE" in text
                or ("selftest/rendering" in where or "documents.py" in where)
            ), f"{where}: a wheel has no docs/ folder; name `draftproof docs PAGE`"
            named += re.findall(r"`draftproof docs ([\w/-]+)`", text)
    assert {"engines", "gate", "lossless", "metrics", "data", "security"} <= set(named)
    for name in named:
        assert name in pages, name
        assert helped("docs", name).startswith("# ")


def test_docs_lists_pages_prints_one_and_says_where_it_lies():
    listed = helped("docs")
    for name in ("readme", "verify", "gate", "decisions/0001-cache-and-root"):
        assert re.search(rf"^{name} +\S", listed, flags=re.MULTILINE), name
    page = (ROOT / "docs" / "verify.md").read_text(encoding="utf-8")
    assert helped("docs", "verify") == helped("docs", "docs/verify.md") == page
    assert Path(helped("docs", "verify", "--path").strip()).samefile(ROOT / "docs" / "verify.md")


def test_an_unknown_page_is_refused_with_the_nearest(capsys):
    assert main(["docs", "verifi"]) == 4
    assert "did you mean 'verify'?" in capsys.readouterr().err


def test_the_version_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert helped("--version") == f"draftproof {project['version']}\n"


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")], ids=str)
def test_what_documents_link_to_is_in_the_wheel(path):
    """The wheel has the documents in one folder, laid out as in a checkout."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    shipped = wheel["build"]["targets"]["wheel"]["force-include"]
    manual = {ROOT / source for source, place in shipped.items() if "/manual/" in place}
    if path.name != "CHANGELOG.md":
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            found = (path.parent / target).resolve()
            assert manual & {found, *found.parents}, f"{target} is in no folder of the wheel"
    for source, place in shipped.items():
        assert (ROOT / source).exists(), source
        if "/manual/" in place:
            assert place == f"draftproof/manual/{source}"
