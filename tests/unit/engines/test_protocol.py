"""What no engine may return, and engines by name."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.subject import Subject
from draftproof.engines.benches import Benches
from draftproof.engines.protocol import Capability, Engine, Generation, Request, check_generation
from draftproof.engines.reference import accepted_tokens
from draftproof.engines.registry import engine_names, make_engine
from draftproof.errors import EngineError, UsageError
from draftproof.plugin.running import Speculation
from draftproof.stopping import Stopping

REQUEST = Request(
    request_id="case",
    prompt_token_ids=(1, 2),
    sampling=Sampling(),
    stopping=Stopping(
        max_new_tokens=4, stop_token_ids=frozenset({9}), stop_strings=("78",),
        decode=lambda tokens: "".join(str(token) for token in tokens),
    ),
)  # fmt: skip


def answer(*token_ids, reason="length", **values):
    return Generation(token_ids=token_ids, stop_reason=reason, seconds=0.1, **values)


@pytest.mark.parametrize(
    "generation",
    [answer(1, 2, 3, 4), answer(1, 9, reason="stop_token"), answer(7, 8, reason="stop_string")],
)
def test_an_output_that_ends_where_it_must_passes(generation):
    check_generation(generation, REQUEST, 10)


@pytest.mark.parametrize(
    ("generation", "problem"),
    [
        (answer(1, 2, 3, 4, 5), "goes on for 1 tokens after it should have ended .length."),
        (answer(1, 9, 3, 4), "goes on for 2 tokens after it should have ended .stop_token."),
        (answer(1, 9, 9, reason="stop_token"), "goes on for 1 tokens"),
        (answer(1, 7, 8, 1), "goes on for 1 tokens after it should have ended .stop_string."),
        (answer(1, 2), "ends after 2 of 4 tokens"),
        (answer(), "ends after 0 of 4 tokens"),
        (answer(1, 2, 3, 9), "ended for the reason stop_token, and the engine says length"),
        (answer(1, 10, 3, 4), "token 1 of the output is 10"),
        (answer(1, -1, 3, 4), "token 1 of the output is -1"),
        (answer(1, 2, 3, None), "token 3 of the output is None"),
        (answer(1, 2, 3, 4, accepted=(True,)), "says of 1 tokens"),
    ],
)
def test_what_no_engine_may_return_is_named(generation, problem):
    with pytest.raises(EngineError, match=problem):
        check_generation(generation, REQUEST, 10)


def test_accepted_tokens_of_a_truncated_last_step():
    steps = {"accepted_length": [3, 3], "committed_tokens": [4, 2]}
    import numpy as np

    steps = {name: np.array(column) for name, column in steps.items()}
    assert accepted_tokens(steps, 7) == (False, True, True, True, False, True, True)


class Echo:
    """An engine that answers with zeros."""

    name = "echo"
    capabilities = frozenset({Capability.STOP_STRINGS})

    def __init__(self, config, pair):
        self.config = config

    def speculate(self, request):
        return answer(*[0] * request.stopping.max_new_tokens)

    plain = speculate

    def describe(self):
        return {"name": self.name}

    def close(self):
        pass


def test_a_callable_of_ones_own_makes_an_engine():
    pair = SimpleNamespace(stop_token_ids=frozenset({9}))
    engine = make_engine(pair, RunConfig(engine=f"{__name__}:Echo"))
    assert isinstance(engine, Engine)
    assert engine.speculate(REQUEST).token_ids == (0, 0, 0, 0)
    assert Capability.PLAIN not in engine.capabilities


def test_a_module_that_is_no_file_makes_an_engine(monkeypatch):
    """As `__main__` is none, from which an engine may be tried."""
    module = ModuleType("typed_in")
    module.Echo = Echo
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "typed_in", module)
    pair = SimpleNamespace(stop_token_ids=frozenset({9}))
    assert make_engine(pair, RunConfig(engine="typed_in:Echo")).engine.name == "echo"


@pytest.mark.parametrize(
    ("name", "error", "problem"),
    [
        ("referense", UsageError, "did you mean 'reference'"),
        ("no_such_module:make", UsageError, "cannot be imported"),
        (f"{__name__}:missing", UsageError, "cannot be imported"),
        ("builtins:int", EngineError, "int.. argument must be|TypeError|not an engine"),
        ("builtins:dict.fromkeys", EngineError, "TypeError|not an engine"),
    ],
)
def test_what_is_no_engine_is_refused(name, error, problem):
    with pytest.raises(error, match=problem):
        make_engine(None, RunConfig(engine=name))


def test_the_reference_engine_has_no_settings_of_its_own():
    with pytest.raises(UsageError, match="reference engine has no settings"):
        RunConfig(engine_options=(("url", "x"),))
    assert "reference" in engine_names()


def test_settings_come_back_from_json():
    config = RunConfig(engine="openai", engine_options=(("url", "http://x"),), check_state=0.5)
    assert RunConfig.from_json(config.to_json()) == config
    other = replace(config, engine="reference", engine_options=())
    assert config.fingerprint() != other.fingerprint()


def test_every_engine_that_is_made_is_closed_once():
    """By a pytest run when it ends, and by a verification when all its checks are done."""
    closed = []

    class Closing:
        capabilities = frozenset()

        def close(self):
            closed.append(self)

    run = Speculation(RunConfig(), {}, report=lambda line: None)
    own, other = (SimpleNamespace(engine=Closing()) for _ in range(2))
    run._benches = Benches(RunConfig(), upcoming=None, report=lambda line: None)
    run._benches._benches, run._benches._other = {RunConfig(): own}, other
    run.close()
    assert closed == [own.engine, other.engine]

    closed.clear()
    subject = Subject(
        pair=None, config=RunConfig(), prompts=[], make=lambda pair, config: Closing()
    )
    made = []
    for _ in range(2):
        with subject.engine() as engine:
            made.append(engine)
    assert made[0] is made[1]
    assert closed == []
    subject.close()
    assert closed == made[:1]
