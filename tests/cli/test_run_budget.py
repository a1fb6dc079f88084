"""`otel-harn-steps run --max-usd ... -- program`: the limits, what happens to who goes on, and what the command says."""

from __future__ import annotations

import json
import signal
import textwrap

import pytest

from otel_harn_steps._steps.shared_budget import SharedBudget
from otel_harn_steps.cli._budget_watch import BudgetWatch

# What a program does with its budget, as the accounts do: the end is noted at the first call that does not fit.
SPENDING = """
    import os, sys
    from pathlib import Path
    from otel_harn_steps._steps.shared_budget import Amount, SharedBudget, SharedLimits
    from otel_harn_steps.cli._folder import RunFolder

    folder = RunFolder(Path(os.environ["OTEL_HARN_STEPS_RUN"]))
    terms = folder.read()
    budget = SharedBudget(folder.budget)
    limits = SharedLimits.of(terms.budget)
    CALL = Amount(100, 20, 27_000_000, 1)

    def call():
        reserved = budget.reserve(CALL, limits)
        if reserved.lease is not None:
            budget.settle(reserved.lease, CALL)
            return True
        if budget.totals().ended_by is None:
            budget.note_ended(reserved.crossed)
        else:
            budget.note_refused()
        return False

    def call_until_the_end():
        while call():
            pass

    def go_on_calling():
        for _ in range(5):
            call()
"""
# Waits for signals without an end, and says which have come.
WAITING = """
    import signal, time

    def wait_for_signals(*, ends_with):
        numbers = signal.SIGINT, signal.SIGTERM
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        go_on_calling()
        while True:
            got = signal.sigwait(numbers)
            print(signal.Signals(got).name, flush=True)
            if got == ends_with:
                sys.exit(0)
"""
posix = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no such signals here")


@pytest.fixture
def spend(app):
    """Runs a program that spends."""

    def spend(program, *options, **more):
        app.write("spending.py", SPENDING + WAITING)
        app.write("agent.py", "from spending import *\n" + textwrap.dedent(program))
        return app.run("python", "agent.py", options=("--json", "run.json", *options), **more)

    return spend


# -- what the command says ---------------------------------------------------------------------------------------------


def test_a_program_within_its_budget_ends_as_ever(app, spend):
    done = spend("call(); call(); sys.exit(3)", "--max-calls", "2", "--max-usd", "0.5")

    assert done.returncode == 3
    assert app.result()["budget"] == {"limits": {"max_usd": 0.5, "max_calls": 2}, "ended_by": None}
    assert "budget" not in done.stderr


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_program_that_its_budget_has_ended_exits_with_75_however_it_takes_that(code, app, spend):
    done = spend(f"call_until_the_end(); sys.exit({code})", "--max-calls", "2")

    assert (done.returncode, app.result()["exit_code"]) == (75, code)
    assert app.result()["budget"]["ended_by"] == {"limit": "max_calls", "spent": 2, "allowed": 2}


@posix
def test_a_program_that_its_budget_has_ended_and_a_signal_has_killed_exits_with_75(app, spend):
    done = spend("call_until_the_end(); os.kill(os.getpid(), 9)", "--max-calls", "2")

    assert (done.returncode, app.result()["exit_code"]) == (75, -9)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--max-usd", "0.0001"), "ended by its budget: max_usd, <$0.0001 of $0.0001"),
        (("--max-tokens", "2500"), "ended by its budget: max_tokens, 2,400 of 2,500"),
        (("--max-calls", "2"), "ended by its budget: max_calls, 2 of 2"),
    ],
)
def test_the_table_says_which_limit_has_ended_the_program(options, sentence, spend):
    done = spend("call_until_the_end()", *options)

    assert done.returncode == 75
    assert sentence in done.stderr


def test_nothing_is_in_the_environment_and_no_file_is_there_without_a_limit(app):
    app.write("main.py", "import os; print(*sorted(os.environ)); print(*os.listdir(os.environ['OTEL_HARN_STEPS_RUN']))")
    without = app.run("python", "main.py").stdout.splitlines()
    limited = app.run("python", "main.py", options=("--max-calls", "2")).stdout.splitlines()

    assert set(limited[0].split()) - set(without[0].split()) == {"OTEL_HARN_STEPS_RUN_BUDGET"}
    assert "budget.sqlite" not in without[1]
    assert "budget.sqlite" in limited[1]


def test_the_result_has_no_budget_without_a_limit(app):
    app.run("python", "-c", "", options=("--json", "run.json"))

    assert app.result()["budget"] is None


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        *(("--max-usd", value, "a number of US dollars, 0 or more") for value in ("x", "-1", "nan", "inf", "")),
        *(("--max-tokens", value, "a whole number above 0") for value in ("0", "1.5", "-3", "many")),
        *(("--max-calls", value, "a whole number above 0") for value in ("0", "1e3")),
        *(("--max-minutes", value, "a number of minutes above 0") for value in ("0", "-1", "inf", "soon")),
        *(("--grace", value, "a number of seconds, 0 or more") for value in ("-1", "nan", "long")),
    ],
)
def test_a_bad_value_starts_nothing_and_is_named(option, value, allowed, app):
    done = app.run("python", "-c", "print('started')", options=(f"{option}={value}",))

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"otel-harn-steps: {option} must be {allowed}")
    assert done.stderr.endswith(f"not {value!r}\n")


def test_the_terms_have_the_limits_in_plain_values(app):
    app.write("main.py", "import os; print(open(os.environ['OTEL_HARN_STEPS_RUN'] + '/run.json').read())")
    options = ("--max-usd", "0.50", "--max-tokens", "9", "--max-calls", "4", "--max-minutes", "1.5")
    terms = json.loads(app.run("python", "main.py", options=options).stdout)

    assert terms["budget"] == {"max_usd": 0.5, "max_tokens": 9, "max_calls": 4, "max_seconds": 90.0}


def test_the_help_names_the_exit_code(app):
    assert "75" in app.call(*app.run_command()[:4], "--help").stdout


# -- who goes on -------------------------------------------------------------------------------------------------------


@posix
def test_a_program_that_goes_on_calling_gets_one_sigint(spend):
    done = spend("call_until_the_end(); wait_for_signals(ends_with=signal.SIGINT)", "--max-calls", "2")

    assert (done.returncode, done.stdout) == (75, "SIGINT\n")


@posix
def test_a_program_that_ignores_that_gets_sigterm_after_the_grace(spend):
    program = "call_until_the_end(); wait_for_signals(ends_with=signal.SIGTERM)"
    done = spend(program, "--max-calls", "2", "--grace", "0.1")

    assert (done.returncode, done.stdout) == (75, "SIGINT\nSIGTERM\n")


@posix
def test_so_it_does_where_the_system_does_not_say_who_sent_a_signal(app, spend):
    """macOS."""
    spend("")
    app.write("agent.py", "from spending import *; call_until_the_end(); wait_for_signals(ends_with=signal.SIGTERM)")
    main = "import signal, sys; del signal.sigwaitinfo; from otel_harn_steps.cli._command import main; sys.exit(main())"
    done = app.python(
        "-c", main, *app.run_command("python", "agent.py", options=("--max-calls", "2", "--grace", "0.1"))[3:]
    )

    assert (done.returncode, done.stdout) == (75, "SIGINT\nSIGTERM\n")


@posix
def test_a_python_that_handles_neither_is_ended_by_a_keyboard_interrupt(app, spend):
    done = spend("call_until_the_end(); go_on_calling(); signal.pause()", "--max-calls", "2")

    assert (done.returncode, app.result()["exit_code"]) == (75, -signal.SIGINT)
    assert "KeyboardInterrupt" in done.stderr


@posix
@pytest.mark.parametrize(
    ("grace_s", "sent_by_hard_stops"),
    [
        (0, [[], [signal.SIGINT], [signal.SIGINT, signal.SIGTERM]]),  # one hard stop, and it lives on
        (1000, [[], [], [signal.SIGINT]]),  # time to end by the first hard stop; after the second one it goes on
    ],
)
def test_a_program_has_time_to_end_by_its_hard_stop_and_is_then_interrupted_and_terminated(
    grace_s, sent_by_hard_stops, tmp_path
):
    budget = SharedBudget(tmp_path / "budget.sqlite")
    watch = BudgetWatch(budget, {"max_calls": 2}, started_s=0, grace_s=grace_s)
    sent = []
    looks = []
    budget.note_ended("max_calls")
    for _ in sent_by_hard_stops:
        watch.look(-1, sent.append)
        looks.append(list(sent))
        budget.note_refused()
    budget.close()

    assert looks == sent_by_hard_stops


@posix
def test_a_program_whose_minutes_are_over_gets_sigint_also_if_it_calls_nothing(app, spend):
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it may come before the program has begun

    program = "wait_for_signals(ends_with=signal.SIGINT)"
    done = spend(program, "--max-minutes", "0.01", preexec_fn=block)

    assert (done.returncode, done.stdout) == (75, "SIGINT\n")
    ended_by = app.result()["budget"]["ended_by"]
    assert (ended_by["limit"], ended_by["allowed"]) == ("max_seconds", 0.6)
    assert ended_by["spent"] >= 0.6
    assert "ended by its budget: max_seconds, " in done.stderr


@posix
def test_a_child_that_goes_on_gets_the_signals_as_from_a_terminal(spend):
    program = """
        import subprocess
        call_until_the_end()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        child = "from spending import *; wait_for_signals(ends_with=signal.SIGTERM)"
        sys.exit(subprocess.call([sys.executable, "-c", child]))
    """
    done = spend(program, "--max-calls", "2", "--grace", "0.1")

    assert (done.returncode, done.stdout) == (75, "SIGINT\nSIGTERM\n")


@posix
def test_signals_of_others_reach_the_program_while_the_budget_is_watched(app):
    app.write(
        "main.py",
        """
        import signal
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        print("waits", flush=True)
        print(signal.Signals(signal.sigwait([signal.SIGUSR1])).name)
        """,
    )
    command = app.run_command("python", "main.py", options=("--max-calls", "2"))
    with app.start(*command) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGUSR1)
        out, _ = process.communicate()

    assert (process.returncode, out) == (0, "SIGUSR1\n")


def test_a_budget_that_is_gone_ends_nothing_and_is_complained_about(app, spend):
    done = spend("os.unlink(folder.budget)", "--max-calls", "2")

    assert done.returncode == 0
    assert "otel-harn-steps: the run's budget could not be read, so that each process counted for itself" in done.stderr


@posix
def test_minutes_are_over_also_where_the_budget_is_gone(app, spend):
    program = "os.unlink(folder.budget); signal.pause()"
    done = spend(program, "--max-calls", "2", "--max-minutes", "0.01")

    assert done.returncode == 75
    assert app.result()["budget"]["ended_by"]["limit"] == "max_seconds"
