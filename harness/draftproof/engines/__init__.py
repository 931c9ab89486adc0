"""Engines: what turns a prompt into tokens, steps and nodes."""
