"""`otel-harn-steps report`, `show` and `completion`: what is asked, and what comes out."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time

import pytest

pytest.importorskip("msgspec", reason="the store needs the extra `cli`")

from otel_harn_steps.store import Filter, Store, to_json
from tests.cli.stores import RUN, Written, newsletter

DAY_S = 86_400


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def command(app, records):
    """Runs `otel-harn-steps` over the records."""
    app.environment["OTEL_HARN_STEPS_RECORDS"] = str(records)

    def command(*words, **options):
        return app.call(sys.executable, "-m", "otel_harn_steps.cli", *words, **options)

    return command


def test_a_report_shows_where_the_money_went(command, records):
    newsletter(records)

    done = command("report")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "all that is recorded · 1 run · 5 calls                             $0.0317",
        "  58 % wasted ($0.0183) · 1 breach in 1 step",
        "  12k tokens in (8.4 % cached), 2.1k out",
        "  step        runs  calls  input  cached      own    total  run p95   over",
        "  newsletter     1      1     15     0 %  $0.0004  $0.0311  $0.0311",
        "  weather        1      1  9,463     0 %  $0.0183  $0.0183  $0.0183  100 %",
        "  digest         1      2  2,340    43 %  $0.0124  $0.0124  $0.0124",
        "  (no step)             1     28     0 %  $0.0006  $0.0006",
        "  `weather` breached 1 of 1 run: otel-harn-steps budget suggest weather",
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("path", ["newsletter", "newsletter/weather", "newsletter/digest", "(no step)"]),
        ("model", ["claude-5", "gpt-5"]),
        ("run", ["7f3a91c2 agent.py"]),
        ("program", ["agent.py"]),
        ("status", ["skipped", "completed", "(no step)"]),
    ],
)
def test_a_report_may_be_by_something_else(command, records, by, names):
    newsletter(records)
    table = command("report", "--by", by).stdout.splitlines()[4:]
    assert [line[2:].split("  ")[0] for line in table[: len(names)]] == names


def test_days_have_rows_in_their_order(command, records):
    for days in (2, 1):
        newsletter(records, run_id=f"{days}{RUN[1:]}", began_s=time.time() - days * DAY_S - 60)
    rows = [line for line in command("report", "--by", "day").stdout.splitlines() if re.match(r"  \d{4}-", line)]
    assert len(rows) == 2
    assert rows == sorted(rows)


def test_a_period_and_patterns_are_named_in_the_headline(command, records):
    newsletter(records, began_s=time.time() - 40 * DAY_S)
    newsletter(records, run_id="aa" * 8)

    def head(*words):
        return command("report", *words).stdout.splitlines()[0].rsplit("  ", 1)[0].rstrip()

    assert head("--since", "7d") == "last 7 days · 1 run · 5 calls"
    assert (
        head("--since", "1h", "--step", "dig*", "--model", "gpt*")
        == "last hour, step dig*, model gpt* · 1 run · 2 calls"
    )
    assert head("--since", "today", "--until", "2030-01-01") == "since today until 2030-01-01 · 1 run · 5 calls"
    assert head() == "all that is recorded · 2 runs · 10 calls"


def test_json_is_the_view(command, records):
    newsletter(records)

    done = command("report", "--json", "--by", "model", "--since", "30d")

    with Store(records) as store:
        store.update()
        printed = json.loads(done.stdout)
        expected = to_json(store.report("model", Filter(since=printed["filter"]["since"])))
    assert printed == json.loads(json.dumps(expected))


def test_csv_has_a_line_for_each_row(command, records):
    pytest.importorskip("otel_harn_steps.page")
    newsletter(records)
    rows = list(csv.DictReader(io.StringIO(command("report", "--csv").stdout)))
    assert [row["name"] for row in rows] == ["newsletter", "weather", "digest", "(no step)"]
    assert rows[1]["spend.cost_picousd"] == "18300000000"


def test_html_is_written_to_a_file(command, app, records):
    pytest.importorskip("otel_harn_steps.page")
    newsletter(records)
    done = command("report", "--html", "report.html")
    assert (done.returncode, done.stdout) == (0, "")
    assert "weather" in (app.folder / "report.html").read_text()
    assert command("report", "--html", "no/such/folder/report.html").returncode == 2


def test_an_empty_store_is_no_mistake(command):
    done = command("report")
    assert (done.returncode, done.stdout) == (0, "nothing is recorded yet: otel-harn-steps run -- python app.py\n")
    assert json.loads(command("report", "--json").stdout)["rows"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "--by", "colour"), "by must be one of step, path"),
        (("report", "--since", "tomorrow"), "--since must be a period"),
        (("report", "--label", "tenant"), "--label must be NAME=VALUE"),
        (("report", "--records", "nowhere"), "there is no such folder"),
        (("report", "--json", "--csv"), "not allowed with argument"),
        (("report", "--color", "pink"), "invalid choice"),
        (("top", "--interval", "0"), "--interval must be a number of seconds"),
    ],
)
def test_what_is_no_option_is_said_and_exits_with_2(command, records, words, said):
    newsletter(records)
    done = command(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error(command, app, records):
    for n in range(60):
        newsletter(records, run_id=f"{n:016x}")
    words = [sys.executable, "-m", "otel_harn_steps.cli", "report", "--json", "--by", "run"]
    process = app.start(*words, stdout=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) in (141, -13)


def test_colour_is_only_where_it_is_wanted(command, records):
    pytest.importorskip("rich")
    newsletter(records)
    assert "\x1b" not in command("report").stdout
    coloured = command("report", "--color", "always").stdout
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == command("report").stdout


def test_names_from_anywhere_are_shown_safely(command, records):
    names = ["<b>", "\x1b]0;owned\x07", "x" * 10_000, "שלום", "🎉", "a\nb", "\udc80", "=1+1"]
    run = Written(records)
    for name in names:
        run.start(name)
        run.call(name, 1, model=name, labels={"tenant": name})
        run.end(name)
    run.finish()
    for words in (
        ("report",),
        ("report", "--by", "model"),
        ("report", "--by", "label:tenant"),
        ("show", "last", "--calls"),
    ):
        done = command(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert not {"\x1b", "\x07"} & set(done.stdout)
        assert max(map(len, done.stdout.splitlines())) <= 84  # two signs around a name take no room
        assert "🎉" in done.stdout


def test_a_damaged_line_is_said_and_the_rest_is_shown(command, records):
    newsletter(records)
    journal = next(records.glob("*.jsonl"))
    journal.write_text(journal.read_text() + "{torn\n")
    done = command("report")
    assert "a line of the records is left out" in done.stderr
    assert "! 1 line of the journals left out, which could not be read" in done.stdout
    assert done.stdout.splitlines()[0].endswith("$0.0317")


def test_a_report_imports_only_what_it_needs(app, records):
    newsletter(records)
    program = (
        "import sys\nfrom otel_harn_steps.cli._command import main\nmain(['report'])\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = app.python("-c", program, env={"OTEL_HARN_STEPS_RECORDS": str(records)})
    assert not {"rich", "pydantic", "genai_prices", "asyncio", "openai"} & set(done.stderr.split())


# -- show --------------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_by_the_beginning_of_it_and_as_the_last(command, records):
    newsletter(records, began_s=time.time() - DAY_S)
    newsletter(records, run_id="bb" * 8, name="other.py")
    shown = {name: command("show", name).stdout.split(" · ")[0] for name in (RUN, RUN[:4], "last", "bbbb")}
    assert shown == {RUN: "agent.py", RUN[:4]: "agent.py", "last": "other.py", "bbbb": "other.py"}


def test_a_run_is_shown_as_a_tree_with_its_calls_if_wanted(command, records):
    newsletter(records)
    lines = command("show", "last", "--calls").stdout.splitlines()
    assert "    weather       1  9,463  $0.0183  $0.0183  ━━━━━━━━━━ 201 % of 5,000 tokens" in lines
    assert "   +3.1 s  newsletter/weather  claude-5  9,463       0     582  500 ms  $0.0183" in lines
    assert not any(line.startswith("   +3.1 s") for line in command("show", "last").stdout.splitlines())


def test_what_a_killed_program_left_is_shown(command, records):
    run = Written(records)
    run.start("plan")
    run.call("plan", is_open=True)
    run.finish(exit_code=-9)
    lines = command("show", "last").stdout.splitlines()
    assert lines[0].split(" · ")[-1].startswith("killed by SIGKILL")
    assert "  … 1 call in flight when its process ended: gpt-5 in plan" in lines


def test_the_json_of_a_run_is_the_view(command, records):
    newsletter(records)
    with Store(records) as store:
        store.update()
        expected = to_json(store.run("last"))
    assert json.loads(command("show", "last", "--json").stdout) == json.loads(json.dumps(expected))


def test_a_run_that_is_not_there_exits_with_1(command, records):
    newsletter(records)
    done = command("show", "nope")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("otel-harn-steps: no run 'nope': name it by its id")


# -- completion --------------------------------------------------------------------------------------------------------


def test_bash_completes_commands_and_options(command, app):
    pytest.importorskip("shtab")
    script = app.write("completion.bash", "")
    script.write_text(command("completion", "bash").stdout)

    def complete(*words):
        line = " ".join(words)
        ask = f"""
            source {script}
            complete -p otel-harn-steps >/dev/null || exit 3
            COMP_WORDS=({" ".join(words) if words[-1] else line + "''"}) COMP_CWORD={len(words) - 1} COMP_LINE="{line}"
            $(complete -p otel-harn-steps | sed -E 's/.*-F ([^ ]+).*/\\1/') otel-harn-steps
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        return set(app.call("bash", "--norc", "-c", ask).stdout.split())

    assert {"report", "run"} <= complete("otel-harn-steps", "r")
    assert "--since" in complete("otel-harn-steps", "report", "--si")
    assert {"auto", "always", "never"} <= complete("otel-harn-steps", "report", "--color", "''")
    assert complete("otel-harn-steps", "report", "--by", "mo") == {"model"}
    assert "completion.bash" in complete("otel-harn-steps", "report", "--html", "comp")


@pytest.mark.parametrize("shell", ["zsh", "tcsh", "fish"])
def test_other_shells_have_scripts_too(command, shell):
    pytest.importorskip("shtab")
    done = command("completion", shell)
    assert done.returncode == 0
    assert "otel-harn-steps" in done.stdout


def test_without_its_extra_completion_says_what_to_install(command, app):
    app.write("hide/shtab.py", "raise ModuleNotFoundError('not here', name='shtab')")
    path = str(app.folder / "hide") + os.pathsep + app.environment["PYTHONPATH"]
    done = command("completion", "bash", env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert "making it needs shtab: pip install 'otel-harn-steps[cli]'" in done.stderr
