"""A tiny pair on disk, and a suite of one's own that runs on it."""

import importlib
import json
import pkgutil

import pytest
import vl_convert  # noqa: F401  # can be imported once in a process only
from checkpoints import save_checkpoint
from plugin_sources import SUITE

import draftproof

# A run in this process forgets the modules that it was the first to import, and classes imported
# twice are two classes: so everything is imported now.
for _module in pkgutil.walk_packages(draftproof.__path__, "draftproof."):
    importlib.import_module(_module.name)


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Options that name two random models."""
    folder = tmp_path_factory.mktemp("pair")
    target = save_checkpoint(folder / "target", stops=False)
    draft = save_checkpoint(folder / "draft", seed=1, stops=False)
    return [f"--spec-target={target}", f"--spec-draft={draft}", "--spec-dtype=float64"]


@pytest.fixture
def run(pytester, pair):
    """Runs the suite on the pair with some options; several times in one folder."""
    pytester.makepyfile(test_letters=SUITE)

    def run(*options, models=True):
        given = {option.partition("=")[0] for option in options}
        defaults = [*(pair if models else []), "--spec-max-new-tokens=8"]
        return pytester.runpytest_inprocess(
            "-p",
            "no:cacheprovider",
            *(option for option in defaults if option.partition("=")[0] not in given),
            *options,
            no_reraise_ctrlc=True,
        )

    return run


@pytest.fixture
def metrics(pytester):
    """Reads the metrics of a report folder."""

    def read(folder="out"):
        return json.loads((pytester.path / folder / "metrics.json").read_text())

    return read
