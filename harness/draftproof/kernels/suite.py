"""Every check of a kernel, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from draftproof.conformance.check_result import Finding, Status
from draftproof.conformance.examined import Examined, chosen, claim_of
from draftproof.errors import DraftproofError
from draftproof.kernels import (
    batch_checks,
    draw_checks,
    edges,
    law_checks,
    output_law,
    width_checks,
)
from draftproof.kernels.calling import Tables
from draftproof.kernels.examination import Examination
from draftproof.kernels.sampling import Source

Check = Callable[[Examination], Finding]

CHECKS: dict[str, Check] = {
    "draws": draw_checks.draws,
    "law given the draft": law_checks.exact_law,
    "law of the output": output_law.lossless_output,
    "ends of coins": edges.edge_coins,
    "law by counting": law_checks.counted_law,
    "drafts of 0 to 16 tokens": width_checks.lengths,
    "trees of eight nodes": width_checks.forms,
    "same seed": draw_checks.same_seed,
    "independence": draw_checks.independence,
    "order of rows": batch_checks.row_order,
    "rows alone": batch_checks.rows_alone,
    "neighbours": batch_checks.neighbours,
    "padding": batch_checks.padding,
    "layout in memory": batch_checks.layout,
    "inputs unchanged": batch_checks.inputs_unchanged,
    "greedy rows": width_checks.greedy_rows,
    "vocabularies": width_checks.vocabularies,
    "half precision": width_checks.half_precision,
}
"""What is checked, in this order: each function's docstring says what must hold."""


def require_runnable(examination: Examination) -> None:
    """Call a kernel once, on a table that is nothing special.

    Raises:
        KernelError: It raised, or returned what no kernel may return: it is not called as it
            should be, or is no kernel, and no check can say anything of it.
    """
    source = Source(examination.facts, examination.seed)
    batch = Tables(examination.tables[:1], examination.facts)
    with torch.random.fork_rng(devices=_cuda(examination)):
        batch.run(
            examination.kernel, np.zeros(1, int), source.uniforms(1, batch.coins), source.generator
        )


def _cuda(examination: Examination) -> list[torch.device]:
    """The device whose generator a kernel may draw from, beside the processor's."""
    device = examination.facts.device
    return [torch.device(device)] if device.startswith("cuda") else []


def examine(examination: Examination, names: Iterable[str] = ()) -> Iterator[Examined]:
    """Run checks one after another; a check that cannot be run to its end has failed.

    Args:
        examination: Of the kernel.
        names: Keys of `CHECKS`; all of them for none.

    Raises:
        UsageError: There is no such check.
    """
    for name in chosen(names, CHECKS):
        start = time.perf_counter()
        try:
            # A kernel that draws from torch's own generators is given them seeded, and no one else.
            with torch.random.fork_rng(devices=_cuda(examination)):
                finding = CHECKS[name](examination)
        except DraftproofError as error:
            finding = Finding(status=Status.FAILED, lines=(str(error),))
        yield Examined(
            name=name,
            claim=claim_of(CHECKS[name]),
            finding=finding,
            seconds=time.perf_counter() - start,
        )
