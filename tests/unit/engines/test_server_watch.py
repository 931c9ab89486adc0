"""A server's metrics over a run: grown counters, gauges at their largest, restarts and failures."""

from draftproof.engines.server_watch import ServerWatch
from draftproof.errors import EngineError
from draftproof.report.run_info import RunInfo
from draftproof.report.server_lines import server_lines


def metrics(drafted, *, running=0, preempted=0):
    """Of two engines that share the work, as one server shows them."""
    return "".join(
        f'vllm:spec_decode_num_drafts_total{{engine="{engine}"}} {drafted / 4}\n'
        f'vllm:spec_decode_num_draft_tokens_total{{engine="{engine}"}} {drafted / 2}\n'
        f'vllm:spec_decode_num_accepted_tokens_total{{engine="{engine}"}} {drafted / 8}\n'
        f'vllm:num_requests_running{{engine="{engine}"}} {running}\n'
        f'vllm:num_preemptions_total{{engine="{engine}"}} {preempted}\n'
        f'vllm:kv_cache_usage_perc{{engine="{engine}"}} 0.{engine + 1}\n'
        for engine in range(2)
    )


def watched(*texts):
    """What a watch finds that reads these texts, one after the other."""
    pending = iter(texts)

    def read():
        text = next(pending, texts[-1])
        if isinstance(text, Exception):
            raise text
        return text

    watch = ServerWatch(read, seconds_between=1e-3)
    watch.start()
    while next_left(pending):
        pass
    return watch.stop()


def next_left(pending):
    return pending.__length_hint__()


def test_counters_of_data_parallel_engines_are_added_up_and_grow_from_the_first_reading():
    found = watched(metrics(80), metrics(120, running=3), metrics(160, preempted=1))
    assert found["grown"] == {"drafted_steps": 40, "drafted": 80, "accepted": 20, "preemptions": 2}
    assert found["largest"] == {"running": 6.0, "cache_usage": 0.2}
    assert (found["restarts"], found["problem"]) == (0, "")
    assert found["readings"] >= 3


def test_a_restart_in_between_loses_nothing_that_was_read_and_is_said():
    found = watched(metrics(80), metrics(160), metrics(40), metrics(80))
    assert found["grown"]["drafted"] == 80 + 80
    assert found["restarts"] == 1
    assert any("it was restarted" in line for line in lines(found))


def test_counters_that_appear_with_the_first_draft_are_grown_by_all_they_have():
    assert watched("", metrics(80))["grown"]["drafted"] == 80


def test_metrics_that_cannot_be_read_are_a_line_and_no_error():
    found = watched(metrics(0), EngineError("gone"), metrics(80))
    assert found["problem"] == "gone"
    assert found["grown"]["drafted"] == 80
    assert any("could not always be read: gone" in line for line in lines(found))
    assert lines(watched("nothing 1")) == [
        "the server's metrics have no counters of speculation; does it speculate?"
    ]


def lines(found):
    run = RunInfo(
        name="r", started="", config={}, fingerprint="", server_counters={**found, "resumed": 0}
    )
    return server_lines(run, [])
