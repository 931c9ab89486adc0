"""The conformance kit: every instrument on any engine, and a certificate of what was found."""

from __future__ import annotations
