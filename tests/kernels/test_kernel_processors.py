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


class Grammar:
    """A state for each request, which the tokens that it has seen have moved."""

    def __init__(self, *, takes_back=True, one_for_all=False):
        self._takes_back, self._one_for_all = takes_back, one_for_all
        self._seen = {}

    def __call__(self, call):
        request = 0 if self._one_for_all else call.request
        seen = self._seen.setdefault(request, list(call.committed))
        if self._takes_back:
            kept = next(
                (i for i, (a, b) in enumerate(zip(seen, call.committed, strict=False)) if a != b),
                min(len(seen), len(call.committed)),
            )
            del seen[kept:]
        seen.extend(call.committed[len(seen) :])
        rows = []
        for index, row in enumerate(call.logits):
            single = replace(call, logits=row[None], committed=tuple(seen), draft=())
            rows.append(processed(single))
            seen.extend(call.draft[index : index + 1])
        return torch.from_numpy(np.concatenate(rows))


def test_a_state_that_takes_back_what_was_not_kept_is_right():
    for processor in (Grammar(), Grammar(one_for_all=True)):
        found = examine_processor(processor, LOOKING)
        assert {finding.status for finding in found.values()} == {Status.PASSED}, found


def test_a_state_that_keeps_drafted_tokens_is_told():
    found = examine_processor(Grammar(takes_back=False), LOOKING)
    assert {finding.status for finding in found.values()} == {Status.FAILED}
    assert "a request's first block it is right" in found["grammar"].lines[0]
    assert "drafted tokens that were not kept" in found["grammar"].lines[0]


class OneSlot:
    """The tokens of a request are added to those that were seen last, whoever's they were."""

    def __init__(self):
        self._known, self._seen = set(), ()

    def __call__(self, call):
        if call.request not in self._known:
            self._known.add(call.request)
            self._seen = call.committed
        self._seen = (*self._seen, *call.committed[len(self._seen) :])
        return torch.from_numpy(processed(replace(call, committed=self._seen)))


def test_a_state_that_another_request_moves_is_told():
    (finding,) = examine_processor(OneSlot(), ["frequency_penalty"]).values()
    assert finding.status is Status.FAILED
    assert any("another request" in line for line in finding.lines), finding.lines


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
