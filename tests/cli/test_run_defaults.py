"""What is on under `otel-harn-steps run`, and off in code: the program is looked at as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

MAIN = """
    import sys
    from concurrent.futures import ThreadPoolExecutor

    import httpx

    from otel_harn_steps import current_step, step, unseen_calls

    with step("s"), ThreadPoolExecutor(1) as pool:
        print(pool.submit(current_step).result() is not None)
    with httpx.Client(proxy=sys.argv[1], trust_env=False) as client:
        client.post("http://api.openai.com/v1/responses", json={})
    print([(each.host, each.path, each.library, each.count) for each in unseen_calls()])
"""
SEEN = "[('api.openai.com', '/responses', 'httpx', 1)]"


@pytest.fixture
def program(app):
    app.write("main.py", MAIN)
    return app


def test_threads_carry_the_step_and_unseen_calls_are_counted_without_a_file(program, provider):
    done = program.run("python", "main.py", provider.address)

    assert done.stdout.splitlines() == ["True", SEEN], done.stderr
    assert "a call to a model at api.openai.com was sent by httpx" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("threads = false", ["False", SEEN]),
        ("unseen_calls = false", ["True", "[]"]),
        ("metrics = false", ["True", SEEN]),
    ],
)
def test_the_file_says_otherwise(text, expected, program, provider):
    program.write("harn-steps.toml", text)

    assert program.run("python", "main.py", provider.address).stdout.splitlines() == expected


def test_by_opentelemetry_instrument_they_are_off_unless_the_file_says_otherwise(installed, provider):
    installed.write("main.py", MAIN)
    command = ("opentelemetry-instrument", "--disabled_instrumentations", "threading", "python", "main.py")
    off = installed.call(*command, provider.address, env={"OTEL_TRACES_EXPORTER": "none"})
    installed.write("harn-steps.toml", "threads = true\nunseen_calls = true\n")
    on = installed.call(*command, provider.address, env={"OTEL_TRACES_EXPORTER": "none"})

    assert (off.stdout.splitlines(), on.stdout.splitlines()) == (["False", "[]"], ["True", SEEN]), on.stderr


ENVIRONMENT = """
    import os, subprocess, sys

    names = "import os; print(*sorted(os.environ))"
    print(*sorted(os.environ))
    subprocess.run([sys.executable, "-S", "-c", names])
    folder = os.environ.get("OTEL_HARN_STEPS_RUN")
    if folder:
        print(oct(os.stat(folder).st_mode & 0o777), folder)
"""


def test_the_program_finds_the_run_in_its_environment_and_nothing_else_of_ours(app):
    app.write("main.py", ENVIRONMENT)
    names, of_child = app.python("main.py").stdout.splitlines()
    done = app.run("python", "main.py")
    names_in_run, of_child_in_run, folder = done.stdout.splitlines()
    mode, _, path = folder.partition(" ")

    added = {
        *("OTEL_HARN_STEPS_RUN", "OTEL_HARN_STEPS_RUN_ID", "OTEL_HARN_STEPS_RUN_NAME"),
        *("OTEL_HARN_STEPS_STARTED_IN", "OTEL_SERVICE_NAME", "PYTHONPATH"),
    }
    assert set(names_in_run.split()) - set(names.split()) <= added
    assert set(of_child_in_run.split()) - set(of_child.split()) <= added
    assert mode == "0o700"
    assert not Path(path).exists()
