"""Kernels are called on a thousand rows: without run-time type checks, on one thread."""

import pytest
import torch
from jaxtyping import config


@pytest.fixture(autouse=True)
def _unchecked():
    config.update("jaxtyping_disable", True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        config.update("jaxtyping_disable", False)
