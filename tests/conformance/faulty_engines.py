"""Engines that are wrong in one way each, around the reference engine, and some that are right."""

from dataclasses import replace
from typing import ClassVar

import torch

from draftproof.acceptance.greedy import GreedyRule
from draftproof.acceptance.protocol import Acceptance
from draftproof.config import Sampling
from draftproof.conformance.places import spots
from draftproof.engines.protocol import Capability, Counts
from draftproof.engines.reference import ReferenceEngine
from draftproof.models.hugging_face import HuggingFaceLM


class Wrapped:
    """The reference engine; what is under test changes one of its answers."""

    name = "wrapped"
    capabilities = frozenset(Capability)

    def __init__(self, config, pair):
        self.inner = ReferenceEngine(pair, config)

    def speculate(self, request):
        return self.inner.speculate(request)

    def plain(self, request):
        return self.inner.plain(request)

    def describe(self):
        return {**self.inner.describe(), "name": type(self).__name__}

    def close(self):
        pass


def asked(request, **stopping):
    return replace(request, stopping=replace(request.stopping, **stopping))


class IgnoresStopTokens(Wrapped):
    def speculate(self, request):
        return super().speculate(asked(request, stop_token_ids=frozenset()))


class IgnoresStopStrings(Wrapped):
    def speculate(self, request):
        return super().speculate(asked(request, stop_strings=()))


class OneTooMany(Wrapped):
    def speculate(self, request):
        limit = request.stopping.max_new_tokens
        return super().speculate(asked(request, max_new_tokens=limit + 1))


class WithOtherSampling(Wrapped):
    def change(self, sampling):
        return sampling

    def speculate(self, request):
        return super().speculate(replace(request, sampling=self.change(request.sampling)))


class IgnoresLeastLength(WithOtherSampling):
    def change(self, sampling):
        return replace(sampling, min_new_tokens=0)


class IgnoresPenalty(WithOtherSampling):
    def change(self, sampling):
        return replace(sampling, repetition_penalty=1.0)


class TooHot(WithOtherSampling):
    def change(self, sampling):
        return sampling if sampling.greedy else replace(sampling, temperature=2.5)


class TooHotServer(TooHot):
    """Does not compute as the judge does, for all that is known."""

    capabilities = frozenset(Capability) - {Capability.PAIR_TARGET}


class Unfiltered(WithOtherSampling):
    def change(self, sampling):
        return Sampling(temperature=sampling.temperature)


class DropsAboveZero(WithOtherSampling):
    """Obeys a setting at temperature 0 alone."""

    def drop(self, sampling):
        return sampling

    def change(self, sampling):
        return sampling if sampling.greedy else self.drop(sampling)


class DropsThePenaltyAboveZero(DropsAboveZero):
    def drop(self, sampling):
        return replace(sampling, repetition_penalty=1.0)


class DropsLeastLengthAboveZero(DropsAboveZero):
    def drop(self, sampling):
        return replace(sampling, min_new_tokens=0)


class DropsAStopAboveZero(Wrapped):
    dropped: ClassVar = {}

    def speculate(self, request):
        return super().speculate(
            request if request.sampling.greedy else asked(request, **self.dropped)
        )


class DropsStopTokensAboveZero(DropsAStopAboveZero):
    dropped: ClassVar = {"stop_token_ids": frozenset()}


class DropsStopStringsAboveZero(DropsAStopAboveZero):
    dropped: ClassVar = {"stop_strings": ()}


class PlainIsTooHot(Wrapped):
    """Above temperature 0 its plain decoding obeys a setting that speculation drops."""

    def plain(self, request):
        sampling = request.sampling
        hotter = replace(sampling, temperature=2 * sampling.temperature)
        return super().plain(replace(request, sampling=hotter))


class PlainOfAServerIsTooHot(PlainIsTooHot):
    capabilities = frozenset(Capability) - {Capability.PAIR_TARGET}


class WrongToken(Wrapped):
    """The third token of every output is another."""

    def speculate(self, request):
        generation = super().speculate(request)
        tokens = list(generation.token_ids)
        if len(tokens) > 2:
            tokens[2] = 5 if tokens[2] != 5 else 6
        return replace(generation, token_ids=tuple(tokens))


class ClaimsTheTarget(Wrapped):
    """Decodes losslessly for another target than the one that it was given."""

    def __init__(self, config, pair):
        own = HuggingFaceLM(pair.draft.model, pair.target.vocabulary_size)
        super().__init__(config, replace(pair, target=own))


class OtherTarget(ClaimsTheTarget):
    """The same, and says so: what an engine with quantised kernels is to its judge."""

    capabilities = frozenset(Capability) - {Capability.PAIR_TARGET}


class WrongTokenOfOtherTarget(WrongToken, OtherTarget):
    pass


class CountsRequests(Wrapped):
    """Every answer but the first has another last token."""

    answered = 0

    def speculate(self, request):
        generation = super().speculate(request)
        self.answered += 1
        if self.answered == 1:
            return generation
        *rest, last = generation.token_ids
        return replace(generation, token_ids=(*rest, 7 if last != 7 else 8))


class KeepsLessLater(Wrapped):
    """The same tokens, with fewer drafts kept after the first request."""

    answered = 0

    def speculate(self, request):
        generation = super().speculate(request)
        self.answered += 1
        counts = generation.counts
        if self.answered > 1:
            counts = replace(counts, accepted=counts.accepted // 2)
        return replace(generation, counts=counts)


class KeepsHalf(Wrapped):
    def speculate(self, request):
        generation = super().speculate(request)
        counts = generation.counts
        return replace(generation, counts=replace(counts, accepted=counts.accepted // 2))


class ImpossibleCounts(Wrapped):
    def speculate(self, request):
        return replace(super().speculate(request), counts=Counts(steps=1, drafted=5, accepted=2))


class AnswersNothing(Wrapped):
    """It makes up a prompt where there is none."""

    def speculate(self, request):
        if not request.prompt_token_ids:
            request = replace(request, prompt_token_ids=(1,))
        return super().speculate(request)


class Dies(Wrapped):
    def speculate(self, request):
        raise RuntimeError("the engine has died")


class TellsNothing(Wrapped):
    """Only tokens: no capability at all."""

    capabilities = frozenset()

    def speculate(self, request):
        generation = super().speculate(request)
        return replace(generation, accepted=None, counts=None, steps=None, nodes=None)


class MiscountsSteps(Wrapped):
    """One more token kept in the first step than its nodes say."""

    def speculate(self, request):
        generation = super().speculate(request)
        accepted = generation.steps["accepted_length"].copy()
        accepted[:1] += 1
        return replace(generation, steps={**generation.steps, "accepted_length": accepted})


class IgnoresTheSeed(Wrapped):
    def speculate(self, request):
        return super().speculate(replace(request, seed=0))


class SharesItsDraws(Wrapped):
    def speculate(self, request):
        return super().speculate(replace(request, request_id="any"))


class CountsTheBonus(Wrapped):
    def speculate(self, request):
        generation = super().speculate(request)
        counts = generation.counts
        more = replace(counts, drafted=counts.drafted + counts.steps)
        return replace(generation, counts=more)


class TellsOther(Wrapped):
    """One column of its nodes is changed."""

    column = ""

    def change(self, values):
        return values

    def speculate(self, request):
        generation = super().speculate(request)
        told = self.change(generation.nodes[self.column])
        return replace(generation, nodes={**generation.nodes, self.column: told})


class TellsBits(TellsOther):
    column = "target_entropy"

    def change(self, values):
        return values / 0.6931


class RanksFromOne(TellsOther):
    column = "draft_rank"

    def change(self, values):
        return values + 1


class CallsOthersAccepted(Wrapped):
    """As many tokens as were accepted, each the one before."""

    def speculate(self, request):
        generation = super().speculate(request)
        first, *rest = generation.accepted
        return replace(generation, accepted=(*rest, first))


class CallsAllAccepted(Wrapped):
    def speculate(self, request):
        generation = super().speculate(request)
        return replace(generation, accepted=(True,) * len(generation.token_ids))


class LosesAStep(Wrapped):
    """Its last step is not told."""

    def speculate(self, request):
        generation = super().speculate(request)
        steps = {name: column[:-1] for name, column in generation.steps.items()}
        counts = replace(
            generation.counts,
            steps=len(steps["step"]),
            drafted=int(steps["nodes"].sum()),
        )
        counts = replace(counts, accepted=int(steps["accepted_length"].sum()))
        return replace(generation, steps=steps, counts=counts, accepted=(False,) * 14)


class SeesStopsAtTheEndOfABlock(Wrapped):
    """A stop token inside a block is passed over, and decoding goes on to the limit."""

    seen = 0
    """Tokens of a block in which stops are seen all the same."""

    def speculate(self, request):
        whole = super().speculate(asked(request, stop_token_ids=frozenset()))
        stops = request.stopping.stop_token_ids
        first = next((i for i, t in enumerate(whole.token_ids) if t in stops), None)
        if first is not None:
            spot = spots(whole)[first]
            if spot.is_inside and spot.offset >= self.seen:
                return whole
        return super().speculate(request)


class QuietlySeesStopsAtTheEndOfABlock(SeesStopsAtTheEndOfABlock):
    """The same, of an engine that tells nothing of its blocks."""

    capabilities = frozenset({Capability.STOP_TOKENS, Capability.TOKEN_PROMPTS})

    def speculate(self, request):
        return told_nothing(super().speculate(request))


class QuietlyMissesStopsDeepInABlock(QuietlySeesStopsAtTheEndOfABlock):
    """Only from the third token of a block on, which few of an output's tokens are."""

    seen = 2


def told_nothing(generation):
    return replace(generation, accepted=None, counts=None, steps=None, nodes=None)


class TellsNoBlocks(Wrapped):
    """Right: a server without counters."""

    capabilities = frozenset({Capability.STOP_TOKENS, Capability.TOKEN_PROMPTS, Capability.PLAIN})

    def speculate(self, request):
        return told_nothing(super().speculate(request))


class EndsWithItsOwnStopTokens(Wrapped):
    """Right: a server that cannot be given stop tokens, and says so."""

    capabilities = frozenset(Capability) - {Capability.STOP_TOKENS}


class PlainObeysMore(Wrapped):
    """A token that is forced is forced in plain decoding alone."""

    def plain(self, request):
        generation = super().plain(request)
        tokens = list(generation.token_ids)
        if len(tokens) > 2:
            tokens[2] = 5 if tokens[2] != 5 else 6
        return replace(generation, token_ids=tuple(tokens))


class PlainEndsEarlier(Wrapped):
    """So is a limit that no request states."""

    def plain(self, request):
        generation = super().plain(request)
        return replace(generation, token_ids=generation.token_ids[:7])


class LeavesStateInItsModule(Wrapped):
    """Every engine of the process keeps less once any of them has served a few requests."""

    served: ClassVar = [0]

    def speculate(self, request):
        generation = super().speculate(request)
        self.served[0] += 1
        if self.served[0] <= 8:
            return generation
        counts = generation.counts
        return replace(generation, counts=replace(counts, accepted=counts.accepted // 2))


class CallsEverySecondAccepted(Wrapped):
    """Its counters fit its labels, and it tells no steps."""

    capabilities = frozenset(Capability) - {Capability.STEPS, Capability.NODES}

    def speculate(self, request):
        generation = super().speculate(request)
        accepted = tuple(index % 2 == 1 for index in range(len(generation.token_ids)))
        kept = sum(accepted)
        counts = Counts(steps=len(accepted) - kept, drafted=2 * kept, accepted=kept)
        return replace(generation, accepted=accepted, counts=counts, steps=None, nodes=None)


class TellsLabelsAlone(Wrapped):
    """Right: its labels and counters without its steps."""

    capabilities = frozenset(Capability) - {Capability.STEPS, Capability.NODES}

    def speculate(self, request):
        return replace(super().speculate(request), steps=None, nodes=None)


class DraftsNothing(Wrapped):
    """Decodes plainly, and says so."""

    def speculate(self, request):
        generation = super().plain(request)
        tokens = len(generation.token_ids)
        return replace(
            generation,
            accepted=(False,) * tokens,
            counts=Counts(steps=tokens - 1, drafted=0, accepted=0),
        )

    capabilities = frozenset(Capability) - {Capability.STEPS, Capability.NODES}


class TellsLogProbabilities(Wrapped):
    """Right, by a pass over the whole output."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.target = pair.target

    def told(self, values):
        return values

    def speculate(self, request):
        generation = super().speculate(request)
        prompt, tokens = request.prompt_token_ids, generation.token_ids
        logits = self.target.recompute([*prompt, *tokens])[len(prompt) - 1 : -1]
        rows = torch.log_softmax(logits.double(), -1)
        values = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
        return replace(generation, log_probabilities=tuple(self.told(values)))


class TellsZeros(TellsLogProbabilities):
    def told(self, values):
        return [0.0] * len(values)


class TellsNone(TellsLogProbabilities):
    def told(self, values):
        return [float("nan")] * len(values)


class TellsTheNextOnes(TellsLogProbabilities):
    def told(self, values):
        return [*values[1:], values[0]]


class ServesAnyTemperature(Wrapped):
    """Right: made once, by settings above temperature 0, and counted."""

    capabilities = frozenset(Capability) - {Capability.RUN_SETTINGS, Capability.STATE_CHECKS}
    made: ClassVar = []

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.made.append("open")

    def close(self):
        self.made[self.made.index("open")] = "closed"


class LastSiblingFirst(GreedyRule):
    """Right: exact in whatever order siblings are tried."""

    def accept(self, draft, target, randomness):
        best = target.argmax(-1).tolist()
        path, reached, node = [], [], -1
        while True:
            for child in reversed(draft.tree.children(node)):
                reached.append(child)
                if draft.tree.token_ids[child] == best[node + 1]:
                    path.append(child)
                    node = child
                    break
            else:
                extra = best[node + 1]
                return Acceptance(path=tuple(path), extra_token=extra, reached=tuple(reached))
