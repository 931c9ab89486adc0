"""Between the host and a device: sent without waiting, received as float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def sent(
    values: Sequence[Any], device: torch.device, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Host values as a tensor on a device.

    ``torch.tensor(values, device=…)`` ends only when an accelerator has done all that it was given
    before; this returns at once.
    """
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def received(values: torch.Tensor) -> np.ndarray:
    """Floating values of a device on the host, as float64.

    They are widened here, since some devices have no float64. Waits for the device.
    """
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()  # numpy has no bfloat16
    return np.asarray(values.cpu().numpy(), np.float64)
