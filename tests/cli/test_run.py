"""`otel-harn-steps run -- program`."""

from __future__ import annotations

import os
import signal
import sys

import pytest

GREETER = """
    import sys

    def greet(name):
        return "hello " + name
"""
MAIN = """
    import sys
    from greeter import greet

    print(greet(sys.argv[1]))
    print("bye", file=sys.stderr)
    sys.exit(3)
"""
STEPS = """
    [[steps]]
    target = "greeter:greet"
"""


@pytest.fixture
def greeter(app):
    app.write("greeter.py", GREETER)
    app.write("main.py", MAIN)
    app.write("harn-steps.toml", STEPS)
    return app


def test_the_app_says_and_returns_what_it_does_without_us(greeter):
    without = greeter.python("main.py", "Ann")

    with_us = greeter.run("python", "main.py", "Ann", options=("--no-table",))

    assert (with_us.returncode, with_us.stdout, with_us.stderr) == (3, "hello Ann\n", "bye\n")
    assert (without.returncode, without.stdout, without.stderr) == (3, "hello Ann\n", "bye\n")


def test_records_are_appended_to_the_file(greeter):
    for _ in range(2):
        greeter.run("python", "main.py", "Ann", options=("--step-records", "records.jsonl"))

    assert [(each["name"], each["status"]) for each in greeter.records()] == [("greet", "completed")] * 2


def test_files_of_records_and_journals_are_for_their_owner_alone(greeter):
    greeter.run("python", "main.py", "Ann", options=("--step-records", "records.jsonl", "--records", "journal"))

    made = [greeter.folder / "records.jsonl", greeter.folder / "journal", *(greeter.folder / "journal").iterdir()]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o600, 0o700, 0o600, 0o600]


def test_records_go_where_the_configuration_says_seen_from_its_folder(greeter):
    greeter.write("conf/steps.toml", STEPS + '\n[sinks]\njson_lines = "out.jsonl"\n')

    greeter.run("python", "main.py", "Ann", options=("--config", "conf/steps.toml"))

    assert [each["name"] for each in greeter.records("conf/out.jsonl")] == ["greet"]


def test_tokens_and_dollars_are_billed_to_steps(app, ask):
    pytest.importorskip("openai")
    ask()
    app.write("main.py", "from agent import plan\nprint(plan('x'), plan('y'))\n")
    app.write("harn-steps.toml", '[[steps]]\ntarget = "agent:plan"\n')

    done = app.run("python", "main.py", options=("--step-records", "records.jsonl"))

    assert done.stdout == "yes yes\n"
    assert [(each["input_tokens"], each["output_tokens"]) for each in app.records()] == [(100, 20)] * 2
    # gpt-4o-mini: 0.15 and 0.60 dollars per million tokens
    assert [each["cost_usd"] for each in app.records()] == [0.000027] * 2


def test_a_budget_holds_in_an_app_that_knows_nothing_of_it(app, ask, provider):
    pytest.importorskip("openai")
    ask()
    app.write("main.py", "from agent import plan\nprint(plan('x'))\n")
    app.write(
        "harn-steps.toml",
        """
        [[steps]]
        target = "agent:plan"
        budget = { max_tokens = 100 }
        error_boundary = "continue"
        fallback = "no answer"
        """,
    )

    done = app.run("python", "main.py", options=("--step-records", "records.jsonl"))

    assert done.stdout == "no answer\n"
    assert [each["status"] for each in app.records()] == ["skipped"]


def test_an_app_without_any_configuration_runs(app):
    done = app.run("python", "-c", "print('fine')")

    assert (done.returncode, done.stdout) == (0, "fine\n")


# -- what python does with a program -----------------------------------------------------------------------------------

SELF_PORTRAIT = """
    from __future__ import annotations
    import inspect, sys
    from neighbour import NAME

    @staticmethod
    def answer(x):
        return x

    def show():
        print(__name__, __file__, __spec__ and __spec__.name, __package__, __doc__)
        print(sys.argv, sys.path[0], NAME, sorted(name for name in globals() if "harn" in name))
        print(inspect.getsource(show).count("def"), sys.modules["__main__"].show is show)
        print([path for path in sys.path if "bootstrap" in path], "sitecustomize" in sys.modules)

    if __name__ == "__main__":
        show()
        print(answer(1))
"""


@pytest.mark.parametrize("how", [("main.py",), ("./main.py",), ("-m", "main"), ("sub/../main.py",)])
@pytest.mark.parametrize("target", ["main:show", "__main__:show", "__main__:*"])
def test_a_program_that_is_a_target_itself_finds_its_world_as_ever(app, how, target):
    app.write("main.py", '"""A portrait."""' + SELF_PORTRAIT.replace("\n    ", "\n"))
    app.write("sub/x.py", "")
    app.write("neighbour.py", "NAME = 'next door'\n")
    app.write("harn-steps.toml", f'[[steps]]\ntarget = "{target}"\n')
    # A `sitecustomize` is imported either way.
    app.write("site/sitecustomize.py", "")
    path = {"PYTHONPATH": os.pathsep.join((app.environment["PYTHONPATH"], str(app.folder / "site")))}

    without = app.python(*how, "a", env=path)
    with_us = app.run("python", *how, "a", options=("--step-records", "records.jsonl", "--no-table"), env=path)

    assert (with_us.stdout, with_us.stderr) == (without.stdout, "")
    assert without.returncode == 0
    assert "show" in [each["name"] for each in app.records()]


def test_a_script_in_another_folder_finds_its_neighbours(app):
    app.write("deep/down/main.py", "from neighbour import NAME\ndef show(): print(NAME)\nshow()\n")
    app.write("deep/down/neighbour.py", "NAME = 'next door'\n")
    app.write("harn-steps.toml", '[[steps]]\ntarget = "down.main:show"\n')
    (app.folder / "link.py").symlink_to("deep/down/main.py")

    for script in ("deep/down/main.py", "link.py"):
        done = app.run("python", script, options=("--step-records", "records.jsonl"))
        assert done.stdout == "next door\n"

    assert len(app.records()) == 2


def test_an_error_in_a_program_that_is_a_target_points_to_its_line(app):
    app.write("main.py", "def show():\n    raise ValueError('x')\nshow()\n")
    app.write("harn-steps.toml", '[[steps]]\ntarget = "__main__:show"\n')

    done = app.run("python", "main.py", options=("--no-table",))

    assert done.returncode == 1
    assert 'main.py", line 3, in <module>' in done.stderr
    assert 'main.py", line 2, in show' in done.stderr


def test_a_program_with_a_mistake_in_its_syntax_fails_as_ever(app):
    app.write("main.py", "def show(:\n")
    app.write("harn-steps.toml", '[[steps]]\ntarget = "__main__:show"\n')

    done = app.run("python", "main.py", options=("--no-table",))

    assert done.returncode == 1
    assert done.stderr.startswith(app.python("main.py").stderr)


def test_a_sitecustomize_of_the_apps_own_is_still_imported(greeter):
    greeter.write("site/sitecustomize.py", "import builtins; builtins.HERE = 'here'")
    path = os.pathsep.join((greeter.environment["PYTHONPATH"], str(greeter.folder / "site")))

    done = greeter.run("python", "-c", "print(HERE)", options=("--no-table",), env={"PYTHONPATH": path})

    assert done.stdout == "here\n"


def test_modules_that_are_not_targets_are_imported_by_their_own_loaders(greeter):
    program = "import json, greeter; print(type(json.__loader__).__name__, greeter.greet.__wrapped__ is not None)"

    done = greeter.run("python", "-c", program, options=("--no-table",))

    assert done.stdout == "SourceFileLoader True\n"


@pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="measuring coverage imports them")
def test_pydantic_and_rich_and_the_sdk_are_not_imported_into_the_app(greeter):
    program = "import sys, greeter; print([n for n in ('pydantic', 'rich', 'tomllib', 'argparse') if n in sys.modules])"

    done = greeter.run("python", "-c", program, options=("--no-table",))

    assert done.stdout == "[]\n"


# -- what is wrong -----------------------------------------------------------------------------------------------------


def test_a_configuration_with_mistakes_starts_nothing(greeter):
    greeter.write("harn-steps.toml", STEPS + "\n[[steps]]\ntarget = 3\n")

    done = greeter.run("python", "main.py", "Ann")

    assert (done.returncode, done.stdout) == (2, "")
    assert "harn-steps.toml:6: steps[1].target = 3: must be" in done.stderr


def test_a_configuration_that_is_not_strict_starts_without_what_is_wrong(greeter):
    greeter.write("harn-steps.toml", "strict = false\nmetrics = 1\n" + STEPS)

    done = greeter.run("python", "main.py", "Ann", options=("--step-records", "records.jsonl"))

    assert done.stdout == "hello Ann\n"
    assert "harn-steps.toml:2: metrics = 1: must be true or false" in done.stderr
    assert len(greeter.records()) == 1


def test_a_target_that_no_process_has_seen_is_told_at_the_end(greeter):
    greeter.write("harn-steps.toml", STEPS + '\n[[steps]]\ntarget = "greter:greet"\n')

    done = greeter.run("python", "main.py", "Ann", options=("--no-table",))

    assert done.returncode == 3
    assert "harn-steps.toml:5: target 'greter:greet' has never appeared: greter was not imported" in done.stderr
    assert "'greeter:greet'" not in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "say what to run"),
        (("--json", "no/folder/x", "--", "python"), 2, "--json no/folder/x: No such file or directory"),
        (("--records", "main.py/x", "--", "python"), 2, "--records main.py/x: Not a directory"),
        (("--", "nothing-like-this"), 127, "nothing-like-this is not a program that can be run"),
        (("--", "main.py"), 126, "did you mean: python main.py"),
        (("--otlp", "localhost:4318", "--", "python"), 2, "--otlp must be a URL such as http://localhost:4318"),
        (("--step-records", "no/folder/x", "--", "python"), 2, "--step-records no/folder/x: No such file or directory"),
        (("--config", "nowhere.toml", "--", "python"), 2, "nowhere.toml: cannot be read: No such file or directory"),
    ],
)
def test_an_impossible_command_is_refused_with_a_reason(greeter, words, code, message):
    done = greeter.call(sys.executable, "-m", "otel_harn_steps.cli", "run", *words)

    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_strict_is_no_advice_where_there_is_no_file(greeter):
    done = greeter.call(sys.executable, "-m", "otel_harn_steps.cli", "run", "--config", "nope.toml", "--", "python")

    assert done.returncode == 2
    assert "nope.toml: cannot be read: No such file or directory" in done.stderr
    assert "strict" not in done.stderr


def test_an_app_that_instruments_itself_keeps_the_table_and_the_sinks_of_the_file(greeter):
    greeter.write(
        "self.py", "import otel_harn_steps; otel_harn_steps.instrument()\nimport greeter; greeter.greet('x')\n"
    )
    done = greeter.run("python", "self.py", options=("--step-records", "records.jsonl"))

    assert done.returncode == 0, done.stderr
    assert [record["name"] for record in greeter.records()] == ["greet"]
    assert "greet" in done.stderr


def test_a_python_without_us_runs_on_and_is_told_of(greeter):
    # Isolated from PYTHONPATH, but for the folder that the command adds.
    program = "import os, sys; sys.exit(os.spawnve(os.P_WAIT, sys.executable, ['python', '-c', 'print(5)'], dict(os.environ, PYTHONPATH=os.environ['PYTHONPATH'].split(os.pathsep)[0])))"
    if greeter.python("-c", "import otel_harn_steps", env={"PYTHONPATH": ""}).returncode == 0:
        pytest.skip("the package is installed in this Python")

    done = greeter.run("python", "-c", program)

    assert (done.returncode, done.stdout) == (0, "5\n")
    assert "no steps in a Python that cannot import otel_harn_steps" in done.stderr


# -- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_apps(app, code):
    assert app.run("python", "-c", f"raise SystemExit({code})").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_an_app_that_a_signal_kills_takes_the_command_along_the_same_way(app, number):
    assert app.run("python", "-c", f"import os; os.kill(os.getpid(), {int(number)})").returncode == -number


HANDLER = """
    import signal, sys

    got = []
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(each, lambda number, frame: got.append(number))
    print("ready", flush=True)
    while not got:
        signal.pause()
    print(got)
    sys.exit(5)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("has_sigwaitinfo", [True, False])
def test_a_signal_reaches_the_app_once(app, number, has_sigwaitinfo):
    app.write("main.py", HANDLER)
    command = app.run_command("python", "main.py")
    if not has_sigwaitinfo:
        command = (
            sys.executable, "-c",
            "import signal, sys; del signal.sigwaitinfo; from otel_harn_steps.cli._command import main; sys.exit(main())",
            *command[3:],
        )  # fmt: skip

    with app.start(*command) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (5, f"[{int(number)}]\n")


@pytest.mark.parametrize("has_sigwaitinfo", [True, False])
def test_the_terminals_interrupt_reaches_the_app_once(app, has_sigwaitinfo):
    """Pressed in a terminal, Ctrl-C goes to the whole group: the app must not get it from us as well."""
    import pty

    app.write("main.py", HANDLER.replace("while not got:", "import time\n    while time.sleep(0.3) or not got:"))
    begin = "" if has_sigwaitinfo else "del signal.sigwaitinfo; "
    code = f"import signal, sys; {begin}from otel_harn_steps.cli._command import main; sys.exit(main())"
    command = (sys.executable, "-c", code, "run", "--", sys.executable, "main.py")

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(app.folder)
        os.execve(sys.executable, command, app.environment)
    shown = b""
    while b"ready" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    try:
        while more := os.read(terminal, 1000):
            shown += more
    except OSError:  # the other end is closed
        pass
    _, status = os.waitpid(pid, 0)
    os.close(terminal)

    assert os.waitstatus_to_exitcode(status) == 5
    assert b"[2]\r\n" in shown


def test_nothing_is_left_behind(app, tmp_path):
    (tmp_path / "tmp").mkdir()

    app.run("python", "-c", "pass", env={"TMPDIR": str(tmp_path / "tmp")})

    assert list((tmp_path / "tmp").iterdir()) == []
