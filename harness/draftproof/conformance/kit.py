"""Every check in order, and the certificate that they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from draftproof.conformance import (
    constraint_checks,
    crowd_checks,
    crowded_constraints,
    edge_draws,
    exact_checks,
    history_checks,
    independence,
    law_checks,
    node_facts,
    output_checks,
    probability_checks,
    request_checks,
    sampled_checks,
    single_checks,
    state_checks,
)
from draftproof.conformance.check_result import Finding, Status
from draftproof.conformance.examined import Examined, chosen, claim_of, failed
from draftproof.conformance.subject import Subject
from draftproof.environment import hardware, versions
from draftproof.errors import DraftproofError, EngineGoneError

Check = Callable[[Subject], Finding]

CHECKS: dict[str, Check] = {
    "exact law of outputs": exact_checks.exact_outputs,
    "exact law of drafts": exact_checks.exact_drafts,
    "draws at the edge": edge_draws.edge_draws,
    "rows and single sequences": single_checks.rows_and_single,
    "greedy output": output_checks.greedy_output,
    "stop token at every offset": output_checks.stop_token,
    "stop string at every offset": output_checks.stop_string,
    "length limit at every offset": output_checks.length_limit,
    "min_new_tokens at every offset": output_checks.least_length,
    "several stops at once": history_checks.several_ends,
    "repetition penalty inside a block": output_checks.repetition_penalty,
    "shortest and longest prompts": output_checks.prompt_lengths,
    "prompts that extend earlier ones": history_checks.extended_prompts,
    "same request twice": request_checks.same_request_twice,
    "other seeds and other requests": request_checks.other_seeds,
    "drafts of other lengths": request_checks.other_draft_length,
    "self-draft": request_checks.self_draft,
    "state equivalence": state_checks.state_equivalence,
    "metric identities": state_checks.metric_identities,
    "facts of nodes": node_facts.node_facts,
    "acceptance counts": state_checks.acceptance_counts,
    "log-probabilities": probability_checks.log_probabilities,
    "law of the output": law_checks.target_law,
    "law of the output under filters": law_checks.filtered_law,
    "independent draws": independence.independent_tokens,
    "ends above temperature 0": sampled_checks.sampled_ends,
    "alone and in a crowd": crowd_checks.alone_and_crowded,
    "extras with and without speculation": constraint_checks.same_constraints,
    "settings of one request in a crowd": crowded_constraints.crowded_constraints,
    "cancelled requests": history_checks.cancelled_requests,
    "streamed and whole answers": crowd_checks.streamed_and_whole,
    "nothing left of earlier requests": request_checks.earlier_requests,
}
"""What is checked, in this order: each function's docstring says what must hold. The last one sees
what any of the others left behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was checked on an engine, and what was found.

    Attributes:
        engine: What the engine says of itself.
        models: Of the judge: by role, name and content hash.
        config: The settings.
        checks: Every check, in order.
        versions: Of whatever can move a number.
        hardware: Facts of the machine.
        command: What made it.
    """

    engine: dict[str, Any]
    models: dict[str, dict[str, Any]]
    config: dict[str, Any]
    checks: tuple[Examined, ...]
    versions: dict[str, str]
    hardware: dict[str, Any]
    command: str

    @property
    def failed(self) -> tuple[Examined, ...]:
        """The checks that found a fault."""
        return failed(self.checks)


def begin(subject: Subject, names: Iterable[str] = ()) -> None:
    """Take note of what an engine answers before anything else is asked of it.

    Args:
        subject: The engine under examination.
        names: The checks that will be run; all of them for none.
    """
    if "nothing left of earlier requests" in chosen(names, CHECKS):
        # An engine that fails here fails in the checks, which say so.
        with suppress(Exception):
            request_checks.take_early_answers(subject)


def examine(subject: Subject, names: Iterable[str] = ()) -> Iterator[Examined]:
    """Run checks one after another; a check that cannot be run to its end has failed.

    Where the engine has gone in one check, and is still gone, those after it are not tried.

    Args:
        subject: The engine under examination.
        names: Keys of `CHECKS`; all of them for none.

    Raises:
        UsageError: There is no such check.
    """
    wanted = chosen(names, CHECKS)
    begin(subject, wanted)
    gone_in = ""
    for name in wanted:
        start = time.perf_counter()
        try:
            finding = CHECKS[name](subject)
            gone_in = ""
        except EngineGoneError as error:
            finding = _gone(error, gone_in)
            gone_in = gone_in or name
        except Exception as error:
            # Whatever an engine under examination raises is a finding on it.
            known = isinstance(error, DraftproofError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            finding = Finding(status=Status.FAILED, lines=(text,))
        yield Examined(
            name=name,
            claim=claim_of(CHECKS[name]),
            finding=finding,
            seconds=time.perf_counter() - start,
        )


def _gone(error: EngineGoneError, earlier: str) -> Finding:
    """What is said where an engine answers no more: once that it failed, and then no more."""
    if not earlier:
        return Finding(status=Status.FAILED, lines=(str(error),))
    line = f"the engine has answered nothing since it went away in '{earlier}'; start it again"
    return Finding(status=Status.NOT_TRIED, lines=(f"{line} and give --check for the rest",))


def certificate(subject: Subject, checks: Iterable[Examined], *, command: str) -> Certificate:
    """The certificate of an engine that was examined, with the command that did."""
    with subject.engine() as engine:
        described = engine.describe()
    return Certificate(
        engine=described,
        models=dict(subject.pair.descriptions),
        config=subject.config.to_json(),
        checks=tuple(checks),
        versions=versions(),
        hardware=hardware(),
        command=command,
    )
