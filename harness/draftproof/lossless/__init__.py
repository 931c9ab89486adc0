"""Instruments that judge whether speculation left the output unchanged."""
