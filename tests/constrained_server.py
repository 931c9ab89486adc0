"""The small batched server with what no judge knows: biases, penalties, grammars and budgets.

A request that asks for any of them is decoded a token at a time, so that its law is right by
construction; blocks of four tokens are what speculation would have emitted at once. A fault drops
what is asked for at some places of a block, above temperature 0, or for some rows of a batch.
"""

import json
import random
from dataclasses import replace
from functools import partial

import torch
from batched_server import BatchedServer

from draftproof.engines.protocol import Counts, Generation
from draftproof.sampling import TokenLaw

BLOCK = 4
EXTRAS = (
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "forced",
    "grammar",
)


def everywhere(offset):
    return True


def inside_blocks(offset):
    """What was drafted is verified without the setting."""
    return offset > 0


def bonus_tokens(offset):
    """The token after a draft that was kept whole is drawn without the setting."""
    return offset == BLOCK - 1


def nowhere(offset):
    return False


def extras_lost_in_crowds(requests):
    if len(requests) == 1:
        return requests
    return [replace(one, extras="") for one in requests]


def extras_of_one_for_all(requests):
    given = [one.extras for one in requests if one.extras]
    return [replace(one, extras=given[0]) if given else one for one in requests]


class ConstrainedServer(BatchedServer):
    """Serves a pair of models, and obeys `EXTRAS`.

    Args:
        pair: Target and draft model.
        drops: From a token's place in its block to whether what was asked for is dropped there.
        known: Logits by context, shared by servers of one pair.
    """

    def __init__(self, pair, *, drops=nowhere, known=None, **faults):
        self.drops = drops
        self.known = {} if known is None else known
        super().__init__(pair, **faults)

    def request(self, body):
        given = {key: body[key] for key in EXTRAS if key in body}
        return replace(super().request(body), extras=json.dumps(given) if given else "")

    def answers(self, greedy, requests):
        usual = [index for index, one in enumerate(requests) if not one.extras]
        found = {}
        if usual:
            found = super().answers(greedy, [requests[index] for index in usual])
        answers = {usual[place]: answer for place, answer in found.items()}
        for index, one in enumerate(requests):
            if one.extras:
                answers[index] = self.constrained(one)
        return answers

    def constrained(self, request):
        prompt, extras = request.prompt_token_ids, json.loads(request.extras)
        law = TokenLaw(request.sampling, len(prompt), request.stopping.stop_token_ids)
        draws = random.Random(request.seed)
        output, reason = (), None
        while reason is None:
            context = (*prompt, *output)
            logits = self.logits(context)
            is_dropped = self.drops((len(output) - 1) % BLOCK if output else 0)
            if request.sampling.greedy or not is_dropped:
                logits = constrained_logits(logits, extras, output)
            row = law.distributions(logits[None], partial(list, [context]))[0]
            place = torch.searchsorted(row.cumsum(0), draws.random() * float(row.sum()))
            output = (*output, min(int(place), len(row) - 1))
            output, reason = request.stopping.cut((), output)
        blocks = -(-(len(output) - 1) // BLOCK)
        return Generation(
            token_ids=output,
            stop_reason=str(reason),
            seconds=0.0,
            counts=Counts(
                drafted_steps=blocks,
                drafted=blocks * (BLOCK - 1),
                accepted=len(output) - 1 - blocks,
            ),
        )

    def logits(self, context):
        if context not in self.known:
            rows = self.pair.target.recompute(context, len(context) - 1)
            self.known[context] = rows[-1].double()
        return self.known[context]


def constrained_logits(logits, extras, output):
    """The logits of the next token, with everything that was asked for."""
    logits = logits.clone()
    for token in set(output):
        logits[token] -= extras.get("presence_penalty", 0)
        logits[token] -= extras.get("frequency_penalty", 0) * output.count(token)
    for token, bias in extras.get("logit_bias", {}).items():
        logits[int(token)] += bias
    allowed = None
    if extras.get("grammar") == "ids in turn":
        allowed = range(len(output) % 4, len(logits), 4)
    if str(len(output)) in extras.get("forced", {}):
        allowed = [extras["forced"][str(len(output))]]
    if allowed is not None:
        only = torch.full_like(logits, -torch.inf)
        only[list(allowed)] = logits[list(allowed)]
        logits = only
    return logits
