"""A server's metrics over a run: grown counters, gauges at their largest, restarts and failures."""

from draftproof.engines.server_counters import metric_counts, metric_totals
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


def waits(first, *counts, name="vllm:time_to_first_token_seconds"):
    """A histogram of two engines that share the work."""
    bounds = ("0.05", "0.1", "1.0", "+Inf")
    return "".join(
        f'{name}_bucket{{engine="{engine}",le="{bound}",model_name="m"}} {first + count / 2}\n'
        for engine in range(2)
        for bound, count in zip(bounds, counts, strict=True)
    )


def test_percentiles_of_what_was_added_to_a_histogram_are_intervals():
    found = watched(waits(7, 0, 0, 0, 0), waits(7, 2, 6, 10, 10), waits(7, 4, 12, 18, 20))
    assert found["seconds"] == {
        "time_to_first_token": {"n": 20, "p50": [0.05, 0.1], "p90": [0.1, 1.0], "p99": [1.0, None]}
    }
    assert (
        "by the server's histograms, the time to the first token of 20: p50 between 0.05 and 0.1 "
        "s, p90 between 0.1 and 1 s, p99 above 1 s"
    ) in lines(found)


def test_a_histogram_that_did_not_grow_says_nothing():
    found = watched(waits(7, 2, 3, 4, 4), waits(7, 2, 3, 4, 4))
    assert found["seconds"] == {"time_to_first_token": {"n": 0}}
    assert not any("histograms" in line for line in lines(found))


def test_a_histogram_of_a_server_that_was_restarted_is_not_told():
    found = watched(metrics(80) + waits(9, 2, 3, 4, 4), metrics(4) + waits(9, 2, 3, 4, 8))
    assert found["restarts"] == 1
    assert found["seconds"] == {}
    assert watched(waits(9, 2, 3, 4, 4), waits(0, 2, 3, 4, 4))["seconds"] == {}


def test_names_of_other_servers_are_known():
    for name, figure in (
        ("sglang:queue_time_seconds", "queue_time"),
        ("sglang:e2e_request_latency_seconds", "request_latency"),
        ("trtllm_time_per_output_token_seconds", "time_per_output_token"),
        ("vllm:inter_token_latency_seconds", "inter_token_latency"),
    ):
        found = watched(waits(0, 0, 0, 0, 0, name=name), waits(0, 2, 2, 2, 2, name=name))
        assert found["seconds"][figure]["p99"] == [0.0, 0.05], name


def test_counters_of_tensorrt_llm_are_read_without_its_steps():
    def told(drafted):
        return (
            f'trtllm_spec_decode_num_draft_tokens_total{{engine_type="trtllm"}} {drafted}\n'
            f'trtllm_spec_decode_num_accepted_tokens_total{{engine_type="trtllm"}} {drafted / 4}\n'
            f'trtllm_generation_tokens_total{{engine_type="trtllm"}} {drafted / 2}\n'
            f'trtllm_num_requests_running{{engine_type="trtllm"}} 3\n'
        )

    found = watched(told(80), told(160))
    assert found["grown"] == {"drafted": 80, "accepted": 20, "generated": 40}
    assert found["largest"] == {"running": 3.0}
    counts = metric_counts(metric_totals(told(80)), metric_totals(told(160)))
    assert (counts.drafted_steps, counts.drafted, counts.accepted) == (None, 80, 20)
