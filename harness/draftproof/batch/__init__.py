"""The step as a batch on the device: many sequences at once, one wait a step."""

from __future__ import annotations
