"""The reference engine: this project's own decoding on a pair of models."""

from __future__ import annotations

from harness.acceptance import AcceptanceRule, make_rule
from harness.config import RunConfig
from harness.data.prompt import Prompt
from harness.decoding import Output, plain_decode, speculate
from harness.drafting import make_drafter
from harness.drafting.timed import TimedDrafter
from harness.lossless.comparison import explain, first_difference
from harness.models.checked import CheckedLM
from harness.models.loading import ModelPair
from harness.models.protocol import CausalLM
from harness.models.timed import TimedLM
from harness.randomness import SeededRandomness
from harness.recording import StepRecorder, StepSeconds
from harness.stopping import Stopping
from harness.stopwatch import Stopwatch
from harness.trace import CaseRecord, DecodedOutput, Verdict


class ReferenceEngine:
    """Decodes a prompt plainly and speculatively, and records every step and node.

    Args:
        pair: Target, draft model and tokenizer.
        config: The run's settings.
        rule: In place of the settings' acceptance rule, for one that is under test.
    """

    def __init__(
        self, pair: ModelPair, config: RunConfig, *, rule: AcceptanceRule | None = None
    ) -> None:
        self.pair = pair
        self.config = config
        device = pair.target.device
        self._draft_watch = Stopwatch(device)
        self._verify_watch = Stopwatch(device)
        self._target: CausalLM = pair.target
        draft: CausalLM = pair.draft
        if config.check_state:
            self._target = CheckedLM(self._target, "target")
            draft = CheckedLM(draft, "draft model")
        drafter = make_drafter(config.tree, draft)
        self._rule = rule or make_rule(config.rule, config.tree, is_greedy=config.sampling.greedy)
        self._drafter = TimedDrafter(drafter, self._draft_watch)

    def run(self, prompt: Prompt) -> CaseRecord:
        """Everything measured on one prompt.

        Raises:
            DraftproofError: The prompt does not fit, or a model returned what no probability can
                be made of.
        """
        token_ids = self.pair.encode(prompt.text)
        stopping = Stopping(
            max_new_tokens=self.config.max_new_tokens,
            stop_token_ids=self.pair.stop_token_ids,
            stop_strings=self.config.stop_strings,
            decode=self.pair.decode,
        )
        plain, plain_seconds = self._plain(token_ids, stopping, prompt.prompt_id)
        randomness = SeededRandomness(self.config.seed, prompt.prompt_id)
        recorder = StepRecorder(self._step_seconds)
        watch = Stopwatch(self.pair.target.device)
        with watch.running():
            speculative = speculate(
                token_ids,
                TimedLM(self._target, self._verify_watch),
                self._drafter,
                self._rule,
                sampling=self.config.sampling,
                stopping=stopping,
                randomness=randomness,
                observe=recorder,
            )
        verdict, message = self._compare(token_ids, plain, speculative)
        return CaseRecord(
            case_id=prompt.prompt_id,
            domain=prompt.domain,
            prompt_tokens=len(token_ids),
            verdict=verdict,
            message=message,
            plain=_decoded(plain, plain_seconds),
            speculative=_decoded(speculative, watch.seconds),
            steps=recorder.steps,
            nodes=recorder.nodes,
            draws={str(purpose): count for purpose, count in randomness.draws.items()},
        )

    def _plain(
        self, token_ids: tuple[int, ...], stopping: Stopping, case_id: str
    ) -> tuple[Output, float]:
        watch = Stopwatch(self.pair.target.device)
        with watch.running():
            output = plain_decode(
                token_ids,
                self._target,
                sampling=self.config.sampling,
                stopping=stopping,
                randomness=SeededRandomness(self.config.seed, case_id),
            )
        return output, watch.seconds

    def _compare(
        self, token_ids: tuple[int, ...], plain: Output, speculative: Output
    ) -> tuple[Verdict, str]:
        if not self.config.sampling.greedy:
            return Verdict.SAMPLED, ""
        difference = first_difference(plain, speculative)
        if difference is None:
            return Verdict.IDENTICAL, ""
        message = explain(
            difference,
            plain,
            speculative,
            prompt=token_ids,
            target=self.pair.target,
            decode=self.pair.decode,
        )
        return Verdict.DIFFERENT, message

    def _step_seconds(self) -> StepSeconds:
        return StepSeconds(self._draft_watch.take(), self._verify_watch.take())


def _decoded(output: Output, seconds: float) -> DecodedOutput:
    return DecodedOutput(
        token_ids=output.token_ids, stop_reason=str(output.stop_reason), seconds=seconds
    )
