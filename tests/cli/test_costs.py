"""What `otel-harn-steps run` shows at the end: what the program has cost, and what is not known of it."""

from __future__ import annotations

import os
import signal
import stat

import pytest

BY_HAND = """
    import os, signal, sys, threading
    from otel_harn_steps.cli._child import journal
    from tests.store.rows import ended, sent, settled, started

    journal = journal()

    def call(number, path, **fields):
        journal.call_sent(sent(number, path))
        journal.call_settled(settled(number, path, **fields))
"""


@pytest.fixture
def by_hand(app):
    """Writes `main.py`, a program with a journal at hand."""
    return lambda text: app.write("main.py", BY_HAND + text)


AGENT = """
    for path in ("newsletter", "newsletter/digest", "newsletter/weather"):
        journal.step_started(started(path))
    call(1, "newsletter", input_tokens=15, output_tokens=993, cost_picousd=400_000_000)
    for n in (2, 3):
        call(n, "newsletter/digest", input_tokens=1170, output_tokens=250, cache_read_tokens=500, cost_picousd=6_200_000_000)
    call(4, "newsletter/weather", model="claude-5", input_tokens=9463, output_tokens=582, cost_picousd=18_300_000_000)
    call(5, "", input_tokens=28, output_tokens=36, cost_picousd=600_000_000)
    journal.step_ended(ended("newsletter/weather", status="skipped", breach="max_tokens", max_tokens=5000,
                             input_tokens=9463, output_tokens=582))
    journal.step_ended(ended("newsletter/digest"))
    journal.step_ended(ended("newsletter"))
"""


def test_the_table_shows_the_tree_of_steps_and_the_models(app, by_hand):
    by_hand(AGENT)

    done = app.run("python", "main.py")

    head, *table = done.stderr.splitlines()
    program, run_id, _, ending = head.rpartition("  ")[0].strip().split(" · ")
    assert (program, run_id.split()[0], ending, head.split()[-1]) == ("main.py", "run", "exit 0", "$0.0317")
    assert table == [
        "  step         calls   input   cached   output       own     total",
        "  newsletter       1      15        0      993   $0.0004   $0.0311",
        "    weather        1   9,463        0      582   $0.0183   $0.0183",
        "    digest         2   2,340    1,000      500   $0.0124   $0.0124",
        "  (no step)        1      28        0       36   $0.0006   $0.0006",
        f"  claude-5 58 % · gpt-5 42 %         otel-harn-steps show {run_id.split()[1]}",
        "  newsletter/weather: skipped: over max_tokens (10,045 of 5,000)",
    ]


def test_a_breach_stands_beside_its_step_where_there_is_room(app, by_hand):
    by_hand(AGENT)

    done = app.run("python", "main.py", env={"COLUMNS": "130"})

    (weather,) = (line for line in done.stderr.splitlines() if "weather" in line)
    assert weather.endswith("$0.0183   skipped: over max_tokens (10,045 of 5,000)")


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (80, ["step", "calls", "input", "cached", "output", "own", "total"]),
        (60, ["step", "calls", "input", "cached", "own", "total"]),
        (45, ["step", "calls", "own", "total"]),
        (20, ["step", "total"]),
    ],
)
def test_in_a_narrow_terminal_columns_go_and_the_dollars_stay(app, by_hand, columns, headings):
    by_hand(AGENT)

    lines = app.run("python", "main.py", env={"COLUMNS": str(columns)}).stderr.splitlines()

    assert next(line.split() for line in lines if line.split()[0] == "step") == headings
    assert all(len(line) <= max(columns, 40) for line in lines[1:])


def test_estimates_unknowns_and_calls_in_flight_are_told_apart(app, by_hand):
    by_hand(
        """
    none = {"cost_picousd": None, "input_tokens": None, "output_tokens": None}
    call(1, "estimated", certainty="estimated", estimated_cost_picousd=12_300_000_000, estimated_tokens=9, **none)
    call(2, "unpriced", cost_picousd=None)
    call(3, "unmetered", certainty="unknown", **none)
    journal.call_sent(sent(4, "waiting"))
    call(5, "some unknown")
    call(6, "some unknown", cost_picousd=None)
    call(7, "small", cost_picousd=1)
    call(8, "free", cost_picousd=0)
    """
    )

    lines = app.run("python", "main.py").stderr.splitlines()

    costs = {line[:16].strip(): line.split()[-1] for line in lines[2:9]}
    assert costs == {
        "estimated": "~$0.0123",
        "unpriced": "?",
        "unmetered": "?",
        "waiting": "…",
        "some unknown": "$0.0010?",
        "small": "<$0.0001",
        "free": "$0",
    }
    said = "\n".join(lines)
    assert "~ $0.0123 of it is estimated, for 1 call" in said
    assert "? 3 calls of unknown cost" in said
    assert "2 calls without a price" in said
    assert "2 calls whose tokens the provider did not report" in said
    assert "… 1 call in flight when the program ended: gpt-5 in waiting" in said


def test_names_cannot_do_anything_to_the_terminal(app, by_hand):
    by_hand(
        r"""
    name = "a\x1b[31mb\nc\u202ed\udc80"
    journal.step_started(started(name))
    call(1, name, model="m\x07")
    """
    )

    done = app.run("python", "main.py")

    assert r"a\x1b[31mb\nc\u202ed\udc80" in done.stderr
    assert r"m\x07 100 %" in done.stderr
    assert "\x1b" not in done.stderr


def test_wide_characters_keep_the_columns_in_line(app, by_hand):
    by_hand('    call(1, "計画")\n    call(2, "plan")\n')

    lines = app.run("python", "main.py").stderr.splitlines()

    wide, narrow = (next(line for line in lines if name in line) for name in ("計画", "plan"))
    assert wide.replace("計画", "plan") == narrow


def test_of_many_steps_the_most_expensive_are_shown(app, by_hand):
    by_hand('    for n in range(50):\n        call(n, f"step {n}", cost_picousd=10**9 + n)\n')

    lines = app.run("python", "main.py", options=("--json", "run.json")).stderr.splitlines()

    assert lines[2].split()[:2] == ["step", "49"]
    assert "  and 20 more: --json FILE has all of them" in lines
    assert len(app.result()["steps"]) == 50


# -- however it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_program_is_shown_with_what_it_had_settled_and_what_was_in_flight(app, by_hand, number):
    by_hand(
        f"""
    journal.step_started(started("plan"))
    call(1, "plan")
    if os.fork() == 0:
        call(2, "plan")
        os._exit(0)
    os.wait()
    journal.call_sent(sent(3, "plan"))
    os.kill(os.getpid(), {int(number)})
    """
    )

    done = app.run("python", "main.py", options=("--json", "run.json"))

    result = app.result()
    assert done.returncode == -number
    assert (result["exit_code"], result["total"]["calls"], result["total"]["cost_usd"]) == (-number, 2, 0.002)
    assert result["total"]["open_calls"] == 1
    assert f"killed by {signal.Signals(number).name}" in done.stderr
    assert "$0.0020…" in done.stderr
    assert "… 1 call in flight when the program ended: gpt-5 in plan" in done.stderr
    assert "… 1 run of steps that had not ended: plan" in done.stderr


def test_a_terminal_that_has_hung_up_changes_nothing_of_the_programs_end(app, by_hand):
    by_hand('    call(1, "plan")\n    sys.exit(7)\n')
    reading, writing = os.pipe()
    os.close(reading)  # what is printed now fails

    done = app.run("python", "main.py", options=("--json", "run.json"), stderr=writing)

    os.close(writing)
    assert done.returncode == 7
    assert app.result()["total"]["calls"] == 1


# -- for scripts -------------------------------------------------------------------------------------------------------


def test_json_goes_to_a_descriptor_while_stdout_is_the_programs(app, by_hand):
    by_hand('    call(1, "plan")\n    print("output")\n    sys.exit(3)\n')
    command = app.run_command("python", "main.py", options=("--no-table", "--json", "/dev/fd/3"))

    done = app.call("sh", "-c", 'exec "$@" 3>out.json', "sh", *command)

    result = app.result("out.json")
    assert (done.returncode, done.stdout, done.stderr) == (3, "output\n", "")
    assert (result["exit_code"], result["program"]) == (3, "main.py")
    assert len(result["run_id"]) == 16
    assert result["duration_s"] > 0
    (step,) = result["steps"]
    assert (step["path"], step["own"]["cost_picousd"]) == ("plan", 10**9)


def test_an_old_result_is_gone_when_the_program_starts(app):
    app.write("run.json", "old")

    app.run("python", "-c", "print(open('run.json').read())", options=("--json", "run.json"))

    assert app.result()["total"]["calls"] == 0


def test_journals_can_be_kept_and_each_run_counts_its_own(app, by_hand):
    by_hand('    call(sys.argv[1], "plan")\n')

    for number in (1, 2):
        app.run("python", "main.py", str(number), options=("--records", "kept", "--json", f"{number}.json"))

    assert [app.result(f"{number}.json")["total"]["calls"] for number in (1, 2)] == [1, 1]
    assert len(list((app.folder / "kept").glob("*.jsonl"))) == 2
    assert len(list((app.folder / "kept").glob("*.run.json"))) == 2
    assert stat.S_IMODE((app.folder / "kept").stat().st_mode) == 0o700


# -- when nothing was seen ---------------------------------------------------------------------------------------------


def why(done):
    return " ".join(done.stderr.split("no call was seen: ")[1].split())


def test_a_program_that_is_no_python_is_said_to_be_none(app):
    assert why(app.run("true")) == "no Python process of the program could be followed"


def test_a_program_without_a_client_library_is_said_to_have_none(app):
    assert why(app.run("python", "-c", "pass")).startswith("the program imported no client library")


def test_a_client_that_was_imported_and_not_called_is_named(app):
    pytest.importorskip("openai")
    assert why(app.run("python", "-c", "import openai")) == "openai was imported, and nothing was called with it"


def test_a_client_whose_calls_cannot_be_seen_is_named(app):
    app.write("openai/__init__.py", "")
    app.write("openai/_base_client.py", "")

    done = app.run("python", "-c", "import openai._base_client", env={"OTEL_HARN_STEPS_RAISE_FAULTS": ""})

    assert why(done) == "openai was imported, in a version whose calls cannot be seen"


def test_requests_that_no_client_made_are_named(app, by_hand):
    by_hand('    for _ in range(3):\n        journal.note("unseen_call", host="api.example.com", library="httpx")\n')

    done = app.run("python", "main.py")

    assert "! 3 requests to api.example.com by httpx, from no client that is known here: not in this table" in " ".join(
        done.stderr.split()
    )
    assert "no call was seen" not in done.stderr


def test_our_warnings_are_printed_at_the_end_and_once(app):
    app.write(
        "main.py",
        """
        import logging, sys
        for _ in range(2):
            logging.getLogger("otel_harn_steps").warning("a price is %s", "unknown")
        print("the app's own", file=sys.stderr)
        """,
    )
    done = app.run("python", "main.py", options=("--no-table",))
    assert done.stderr == "the app's own\notel-harn-steps: a price is unknown\n"


def test_no_table_says_nothing_of_it(app):
    assert app.run("python", "-c", "pass", options=("--no-table",)).stderr == ""


# -- through the core --------------------------------------------------------------------------------------------------


def test_calls_of_a_client_are_billed_without_any_file(app, ask):
    pytest.importorskip("openai")
    ask()
    app.write("main.py", "from agent import plan\nprint(plan('x'), plan('y'))\n")

    done = app.run("python", "main.py", options=("--json", "run.json"))

    assert done.stdout == "yes yes\n"
    (step,) = app.result()["steps"]
    # gpt-4o-mini: 0.15 and 0.60 dollars per million tokens
    assert (step["name"], step["own"]["calls"], step["own"]["cost_picousd"]) == ("(no step)", 2, 54_000_000)
    assert [model["model"] for model in app.result()["models"]] == ["gpt-4o-mini"]
    assert "gpt-4o-mini 100 %" in done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_calls_of_workers_are_billed_to_the_run(app, ask, method):
    pytest.importorskip("openai")
    ask()
    app.write(
        "main.py",
        """
        import multiprocessing, sys
        from agent import plan

        if __name__ == "__main__":
            with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                print(pool.map(plan, "abcd"))
                pool.close()
                pool.join()
        """,
    )

    app.run("python", "main.py", method, options=("--json", "run.json"))

    assert (app.result()["total"]["calls"], app.result()["total"]["open_calls"]) == (4, 0)


def test_a_step_that_was_killed_in_the_middle_is_shown_with_what_it_spent(app, ask):
    pytest.importorskip("openai")
    ask()
    app.write(
        "main.py", "import os\nfrom agent import plan\ndef act():\n    plan('x')\n    os.kill(os.getpid(), 9)\nact()\n"
    )
    app.write("harn-steps.toml", '[[steps]]\ntarget = "__main__:act"\n')

    done = app.run("python", "main.py", options=("--json", "run.json"))

    (step,) = app.result()["steps"]
    assert (done.returncode, step["path"], step["open_runs"], step["own"]["cost_usd"]) == (-9, "act", 1, 0.000027)


def test_the_table_is_coloured_in_a_terminal_and_plain_without_rich(app, by_hand):
    pytest.importorskip("rich")
    import pty

    by_hand('    call(1, "plan")\n')
    app.write("hide/rich/__init__.py", "raise ImportError('not here')")
    shown = {}
    for name, path in (("with", ""), ("without", str(app.folder / "hide") + os.pathsep)):
        terminal, end = pty.openpty()
        environment = {"PYTHONPATH": path + app.environment["PYTHONPATH"], "TERM": "xterm", "COLUMNS": "80"}
        app.run("python", "main.py", env=environment, stderr=end)
        os.close(end)
        shown[name] = b""
        try:
            while more := os.read(terminal, 10_000):
                shown[name] += more
        except OSError:  # the other end is closed
            pass
        os.close(terminal)
    assert b"\x1b[" in shown["with"]
    assert b"\x1b[" not in shown["without"]
    for each in shown.values():
        assert b"$0.0010" in each
