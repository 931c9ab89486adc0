"""Faults are planted by the hundred, so they are examined without run-time type checks."""

import pytest
import torch
from jaxtyping import config

from draftproof.config import RunConfig
from draftproof.selftest.instruments import Surroundings


@pytest.fixture(autouse=True)
def _unchecked():
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def around():
    """The built-in pair, and a prompt of each domain."""
    from draftproof.conformance.making import make_subject

    torch.set_num_threads(1)
    subject = make_subject(RunConfig(), prompts=1, report=lambda line: None)
    return Surroundings(pair=subject.pair, prompts=subject.prompts, law_tokens=1000)
