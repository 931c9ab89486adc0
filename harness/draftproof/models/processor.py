"""What a processor computes in quickly, and how much memory a device has left."""

from __future__ import annotations

import os
import platform

import torch

_HALF = (torch.bfloat16, torch.float16)


def is_slow_in(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the processor has no instructions for a half-precision type, and emulates it.

    Then a block of tokens, as verification scores it, takes nearly as long as its tokens one by
    one.

    Other machines than x86 do not tell; they are taken to be fast.
    """
    if device.type != "cpu" or dtype not in _HALF or platform.machine() not in ("x86_64", "AMD64"):
        return False
    names = {
        torch.bfloat16: ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
        torch.float16: ("_is_amx_fp16_supported",),
    }
    found = [getattr(torch.cpu, name, None) for name in names[dtype]]
    return not any(supported is None or supported() for supported in found)


def slow_note(dtype: torch.dtype) -> str:
    """What is said where a type was asked for that the processor emulates."""
    name = str(dtype).removeprefix("torch.")
    return (
        f"this processor has no instructions for {name}, so that scoring a block of tokens takes "
        "several times as long as one token, and speculation gains little; float32 is faster "
        "where memory allows it (--spec-dtype float32)"
    )


def free_bytes(device: torch.device) -> int:
    """Free memory of a device, in bytes; of one that does not tell, half of the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return int(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
