"""Recordings, and what follows from them without a model: acceptance, costs, the best tree."""
