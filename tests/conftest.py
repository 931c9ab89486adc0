"""Profiles, threads, and run-time checks of shapes and types."""

import os
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Workers share the cores: more threads each would wait for one another, in what they start as well.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Runs in folders of their own, which pytester makes their home, share what is kept between runs.
os.environ.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
# A shell without job control starts what is in its background with interrupts ignored, which the
# runs that tests start and interrupt would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Helpers of the tests (strategies, oracles) are plain modules beside this file.
sys.path.insert(0, str(Path(__file__).parent))

from jaxtyping import install_import_hook

_CHECKED = (
    "draftproof.acceptance",
    "draftproof.decoding",
    "draftproof.drafting",
    "draftproof.models",
    "draftproof.randomness",
    "draftproof.recording",
    "draftproof.sampling",
    "draftproof.tree",
)
# Every annotated shape and type is verified at run time from here on.
install_import_hook(_CHECKED, "beartype.beartype")

import profiles  # noqa: E402

profiles.load()


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    """What a test runs is no worker's share of a run, though a worker may run the test."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    """Tiny models gain nothing from more threads, and lose much where cores are shared."""
    import torch

    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, for tests of the pages."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install -e '.[browser]'"
    )
    from page_tools import browser_path

    path = browser_path()
    if path is None:
        pytest.skip("no Chromium on the path; install one, or name it in DRAFTPROOF_CHROMIUM")
    with api.sync_playwright() as playwright:
        # Containers often run as root, where Chromium's sandbox does not start, and have little
        # shared memory.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        try:
            browser = playwright.chromium.launch(executable_path=path, args=arguments)
        except api.Error as error:
            pytest.skip(f"{path} does not start here: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


def pytest_terminal_summary(terminalreporter):
    """Say how many (rule, draft, sampling setting, table) combinations were proved lossless."""
    import proofs

    proved = sum(
        value
        for report in terminalreporter.getreports("")
        if report.when == "teardown"
        for name, value in report.user_properties
        if name == proofs.PROPERTY
    )
    if proved:
        terminalreporter.write_line(
            f"exactness: {proved:,} combinations of rule, draft, sampling setting and table proved "
            "lossless to 1e-12"
        )
