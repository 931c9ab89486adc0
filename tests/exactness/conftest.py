"""Enumeration follows millions of branches, so it goes without run-time type checks."""

import proofs
import pytest
import torch
from jaxtyping import config


@pytest.fixture(autouse=True)
def _unchecked(request):
    config.update("jaxtyping_disable", True)
    before = proofs.count
    try:
        with torch.inference_mode():
            yield
    finally:
        config.update("jaxtyping_disable", False)
        request.node.user_properties.append((proofs.PROPERTY, proofs.count - before))
