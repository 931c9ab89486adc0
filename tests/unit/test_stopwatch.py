"""A clock that stops for whatever only watches; every stopwatch that reads it stops too."""

import contextlib
import time

import pytest

from draftproof.stopwatch import Clock, Stopwatch


@pytest.fixture
def passing(monkeypatch):
    """Time that passes when it is told to."""
    moments = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: moments[0])

    def passes(seconds):
        moments[0] += seconds

    return passes


def test_seconds_that_pass_while_it_is_stopped_are_in_no_stopwatch(passing):
    clock = Clock()
    whole, phase = Stopwatch(clock), Stopwatch(clock)
    with whole.running():
        passing(1)
        with phase.running():
            passing(2)
            with clock.stopped():
                passing(40)
                with clock.stopped():
                    passing(2)
            passing(4)
        with clock.stopped():
            passing(80)
    with clock.stopped():
        passing(8)
    assert (whole.seconds, phase.seconds, clock.stopped_seconds) == (7, 6, 130)


def test_a_failure_starts_it_again(passing):
    clock = Clock()
    watch = Stopwatch(clock)
    with contextlib.suppress(ValueError), watch.running(), clock.stopped():
        passing(5)
        raise ValueError("broken")
    with watch.running():
        passing(3)
    assert (watch.take(), watch.seconds) == (3, 0)
