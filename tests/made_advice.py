"""Advice that follows from recordings whose ranks are drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from recordings import info_of, seeded_table, synthetic

from draftproof.replay.advice import advise
from draftproof.replay.choosing import Limits
from draftproof.replay.costs import CostModel
from draftproof.replay.recorded import Recording
from draftproof.statistics.resampling import Resampling

LIMITS = Limits(nodes=8, depth=4, ranks=4)
FEW = Resampling(resamples=200)


def models(**info):
    made = info_of(seeded_table(0), {"draft": seeded_table(1)}, k=16)
    return replace(
        made,
        models={"target": {"name": "t"}, "draft": {"name": "d"}},
        settings={**made.settings, "target": "t"},
        **info,
    )


def costs(draft=1.0, target=10.0, slope=0.0):
    widths = {str(width): target + slope * (width - 1) for width in (1, 64)}
    return CostModel.from_json(
        {"target": widths, "drafts": {"draft": {"1": draft, "64": draft}}}, "c"
    )


def recording(domains, **info):
    """Prompts whose ranks are drawn: by domain, the chances of rank 0, of rank 1 and of neither."""
    cases = []
    for domain, chances in domains.items():
        generator = np.random.default_rng(len(domain))
        for number in range(12):
            ranks = generator.choice([0, 1, 9], size=40, p=chances)
            case_id = f"{domain}/{number}"
            cases.append(synthetic(ranks, domain=domain, case_id=case_id))
    return Recording(info=models(**info), cases=tuple(cases))


def advised(made, cost, drafters=("draft",)):
    return advise(made, cost, drafters, limits=LIMITS, resampling=FEW)
