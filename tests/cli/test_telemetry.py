"""Spans and metrics that leave by OTLP, and `opentelemetry-instrument`."""

from __future__ import annotations

import gzip
import shutil
import signal
import socket
from collections import Counter

import pytest

trace_service_pb2 = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
metrics_service_pb2 = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

STEPS = '[[steps]]\ntarget = "work:inner"\nname = "think"\n'
WORK = "def inner(n):\n    return n * 2\n"
FORKING = """
    import multiprocessing, sys
    import work

    if __name__ == "__main__":
        work.inner(0)
        process = multiprocessing.get_context(sys.argv[1]).Process(target=work.inner, args=(1,))
        process.start()
        process.join()
        print("done")
"""


def _plain(body):
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def spans_at(collector):
    for path, body in collector.received:
        if path == "/v1/traces":
            for resource in trace_service_pb2.ExportTraceServiceRequest.FromString(_plain(body)).resource_spans:
                attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        yield attributes["service.name"], span.name


def metrics_at(collector):
    for path, body in collector.received:
        if path == "/v1/metrics":
            for resource in metrics_service_pb2.ExportMetricsServiceRequest.FromString(_plain(body)).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        yield metric.name


@pytest.fixture
def work(installed):
    installed.write("work.py", WORK)
    installed.write("main.py", FORKING)
    installed.write("harn-steps.toml", STEPS)
    return installed


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_spans_and_metrics_of_the_app_and_its_workers_reach_the_collector(work, collector, method):
    done = work.run("python", "main.py", method, options=("--otlp", collector.address, "--no-table"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert Counter(spans_at(collector)) == {("main", "step think"): 2}
    assert "harn.step.duration" in set(metrics_at(collector))


def test_metrics_stay_at_home_where_the_file_says_so(work, collector):
    work.write("harn-steps.toml", "metrics = false\n" + STEPS)

    work.run("python", "main.py", "fork", options=("--otlp", collector.address))

    assert Counter(spans_at(collector)) == {("main", "step think"): 2}
    assert set(metrics_at(collector)) == set()


def test_a_service_name_of_the_users_own_is_kept(work, collector):
    work.run(
        "python", "main.py", "fork",
        options=("--otlp", collector.address), env={"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop"},
    )  # fmt: skip

    assert set(spans_at(collector)) == {("shop", "step think")}


def test_a_collector_that_is_down_changes_nothing_for_the_app(work):
    done = work.run(
        "python", "-c", "import work; print(work.inner(2))",
        options=("--otlp", "http://127.0.0.1:9", "--step-records", "records.jsonl"), env={"OTEL_EXPORTER_OTLP_TIMEOUT": "1"},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "4\n")
    assert [each["name"] for each in work.records()] == ["think"]


POOL = """
    import multiprocessing
    import work

    if __name__ == "__main__":
        work.inner(0)
        with multiprocessing.Pool(2) as pool:  # which terminates its workers
            print(sum(pool.map(work.inner, range(8), chunksize=1)))
"""


def test_workers_that_a_pool_terminates_have_exported(work, collector):
    work.write("main.py", POOL)

    done = work.run("python", "main.py", options=("--otlp", collector.address, "--no-table"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "56\n", "")
    assert Counter(spans_at(collector)) == {("main", "step think"): 9}


TERMINATED = """
    import signal, sys
    import work

    if sys.argv[1] == "handled":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    work.inner(0)
    print("ready", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize(("how", "code"), [("bare", -signal.SIGTERM), ("handled", 3)])
def test_a_program_that_is_terminated_has_exported_and_ends_as_without_us(work, collector, how, code):
    work.write("main.py", TERMINATED)
    command = work.run_command("python", "main.py", how, options=("--otlp", collector.address, "--no-table"))

    with work.start(*command) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(60) == code

    assert Counter(spans_at(collector)) == {("main", "step think"): 1}


def test_a_program_ends_before_its_collector_has_answered(work):
    """The exporter would wait for as long as an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = work.run(
            "python", "-c", "import work; print(work.inner(2))",
            options=("--otlp", address, "--no-table"), env={"OTEL_EXPORTER_OTLP_TIMEOUT": "3600"},
        )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "4\n")


def test_the_sdk_is_not_loaded_where_nobody_asks_for_spans(work):
    # Those that the span processor needs are loaded with it, if they are installed.
    done = work.run("python", "-c", "import sys, work; print('opentelemetry.sdk._configuration' in sys.modules)")

    assert done.stdout == "False\n"


# -- opentelemetry-instrument ------------------------------------------------------------------------------------------

OTLP = {
    "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "none",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_SERVICE_NAME": "shop",
}  # fmt: skip


@pytest.fixture
def instrumented(work, collector):
    if shutil.which("opentelemetry-instrument", path=work.environment["PATH"]) is None:
        pytest.skip("opentelemetry-distro is not installed")
    environment = OTLP | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address}
    return lambda *command, **more: work.call(
        "opentelemetry-instrument", *command, env=environment | more.pop("env", {}), **more
    )


def test_opentelemetry_instrument_does_what_the_file_says(work, collector, instrumented):
    work.write("harn-steps.toml", STEPS + '\n[sinks]\njson_lines = "records.jsonl"\n')

    done = instrumented("python", "main.py", "spawn")

    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert Counter(spans_at(collector)) == {("shop", "step think"): 2}
    assert [each["name"] for each in work.records()] == ["think", "think"]


def test_a_step_of_the_program_itself_under_opentelemetry_instrument(work, collector, instrumented):
    work.write("harn-steps.toml", '[[steps]]\ntarget = "__main__:act"\n')
    work.write("main.py", "def act(): print('acting')\nact()\n")

    done = instrumented("python", "main.py")

    assert (done.stdout, done.stderr) == ("acting\n", "")
    assert Counter(spans_at(collector)) == {("shop", "step act"): 1}


def test_without_a_file_the_clients_are_patched_and_nothing_else_happens(work, instrumented):
    (work.folder / "harn-steps.toml").unlink()
    program = "from otel_harn_steps._instrument.instrumentation import current_instrumentation; import sys, work; print(work.inner(2), current_instrumentation() is not None, 'pydantic' in sys.modules)"

    done = instrumented("python", "-c", program)

    assert (done.stdout, done.stderr) == ("4 True False\n", "")


def test_a_file_with_mistakes_does_not_keep_the_app_from_starting(work, collector, instrumented):
    work.write("harn-steps.toml", "metrics = 1\n" + STEPS)

    done = instrumented("python", "main.py", "fork")

    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "harn-steps.toml:1: metrics = 1: must be true or false" in done.stderr
    assert "harn-steps.toml is used without what is wrong in it" in done.stderr
    assert ("shop", "step think") in set(spans_at(collector))


def test_a_strict_file_with_mistakes_is_not_used_and_the_app_starts(work, collector, instrumented):
    work.write("harn-steps.toml", "strict = true\nmetrics = 1\n" + STEPS)

    done = instrumented("python", "main.py", "fork")

    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "harn-steps.toml is not used: it is strict, and has mistakes" in done.stderr
    assert set(spans_at(collector)) == set()


@pytest.mark.parametrize("content", ["", "\0", "x = [", "steps = 7", "[[steps]]\ntarget = 'json:dumps'\nfallback = 1"])
def test_no_file_whatever_it_says_keeps_the_app_from_starting(work, instrumented, content):
    work.write("harn-steps.toml", content)

    done = instrumented("python", "main.py", "fork")

    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "Traceback" not in done.stderr


def test_a_target_that_never_appeared_is_told_at_the_end(work, instrumented):
    work.write("harn-steps.toml", STEPS + '[[steps]]\ntarget = "wrok:inner"\n')

    done = instrumented("python", "main.py", "spawn")

    assert done.stderr.count("has never appeared") == 1
    assert "target 'wrok:inner' has never appeared: wrok was not imported" in done.stderr


def test_both_commands_together_bill_each_step_once(work, collector, instrumented):
    """In either order: the app has one SDK, one record and one span for each step."""
    inside = work.run(
        "opentelemetry-instrument", "python", "main.py", "fork",
        options=("--step-records", "inside.jsonl"), env=OTLP | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.address},
    )  # fmt: skip
    spans_inside = Counter(spans_at(collector))
    collector.received.clear()
    outside = instrumented(*work.run_command("python", "main.py", "fork", options=("--step-records", "outside.jsonl")))

    assert (inside.stdout, outside.stdout) == ("done\n", "done\n")
    assert len(work.records("inside.jsonl")) == len(work.records("outside.jsonl")) == 2
    assert spans_inside[("shop", "step think")] == 2
    assert Counter(spans_at(collector))[("shop", "step think")] == 2
