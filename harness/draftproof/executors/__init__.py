"""Executors: cases measured in other processes, on other machines, and handed back as records."""
