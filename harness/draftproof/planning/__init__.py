"""Planning of a run from a pilot: prompts, hours and cost, known before anything large is run."""

from __future__ import annotations

from draftproof.planning.pilot import Pilot, read_pilot
from draftproof.planning.sample_size import Aim, DomainPlan, aim_of, domain_plans
from draftproof.planning.simulation import Fleet, Forecast, forecast

__all__ = [
    "Aim",
    "DomainPlan",
    "Fleet",
    "Forecast",
    "Pilot",
    "aim_of",
    "domain_plans",
    "forecast",
    "read_pilot",
]
