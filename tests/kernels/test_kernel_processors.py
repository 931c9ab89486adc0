"""Logits processors on blocks: the judge's against transformers', and faults of blocks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from draftproof.conformance.check_result import Status
from draftproof.errors import UsageError
from draftproof.kernels.processors import SETTINGS, examine_processor, processed


def of_transformers(call):
    """Every position by transformers' processors."""
    made = {
        "repetition_penalty": RepetitionPenaltyLogitsProcessor,
        "temperature": TemperatureLogitsWarper,
        "top_k": TopKLogitsWarper,
        "top_p": TopPLogitsWarper,
        "min_p": MinPLogitsWarper,
    }
    rows = []
    for position, row in enumerate(call.logits):
        context = torch.tensor([[*call.committed, *call.draft[:position]]])
        scores = row[None].clone()
        for name in SETTINGS:
            if name in call.settings:
                scores = made[name](call.settings[name])(context, scores)
        rows.append(scores[0])
    return torch.stack(rows)


def test_transformers_processors_pass():
    names = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
    found = examine_processor(of_transformers, names)
    assert {finding.status for finding in found.values()} == {Status.PASSED}, found


def alone(call):
    return torch.from_numpy(processed(call))


def block_sees_only_the_committed(call):
    parts = [
        processed(replace(call, logits=call.logits[i : i + 1], draft=()))
        for i in range(len(call.logits))
    ]
    return torch.from_numpy(np.concatenate(parts))


def block_sees_all_of_the_draft(call):
    committed = (*call.committed, *call.draft)
    parts = [
        processed(replace(call, logits=call.logits[i : i + 1], committed=committed, draft=()))
        for i in range(len(call.logits))
    ]
    return torch.from_numpy(np.concatenate(parts))


def only_the_first_position(call):
    rows = call.logits.double().clone()
    rows[:1] = torch.from_numpy(processed(replace(call, logits=call.logits[:1], draft=())))
    return rows


def writes(call):
    call.logits.mul_(1.0001)
    return torch.from_numpy(processed(call))


LOOKING = ("repetition_penalty", "frequency_penalty", "presence_penalty", "bad_words", "grammar")


@pytest.mark.parametrize(
    ("processor", "wrong"),
    [
        (block_sees_only_the_committed, LOOKING),
        (block_sees_all_of_the_draft, LOOKING),
        (only_the_first_position, tuple(SETTINGS)),
        (writes, tuple(SETTINGS)),
    ],
)
def test_a_fault_of_blocks_shows_in_the_settings_that_it_touches(processor, wrong):
    found = examine_processor(processor)
    failed = {name for name, finding in found.items() if finding.status is Status.FAILED}
    assert failed == {*wrong, "all together"}
    if processor is not writes:
        assert "one token at a time it is right" in found[wrong[0]].lines[0]


def test_a_processor_of_another_definition_is_told_from_a_fault_of_blocks():
    def hotter(call):
        return alone(call) / 1.1

    (finding,) = examine_processor(hotter, ["top_k"]).values()
    assert "one token at a time it is wrong, too" in finding.lines[0]


def test_what_changes_nothing_is_not_tried():
    (finding,) = examine_processor(alone, ["bad_words"], blocks=0).values()
    assert finding.status is Status.NOT_TRIED
    assert all(f.status is Status.PASSED for f in examine_processor(alone).values())


def test_an_unknown_setting_is_refused():
    with pytest.raises(UsageError, match="did you mean 'top_k'"):
        examine_processor(alone, ["topk"])
