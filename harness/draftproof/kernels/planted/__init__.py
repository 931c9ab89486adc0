"""Kernels with a planted fault, and right ones: what the checks of kernels are tried on."""

from __future__ import annotations
