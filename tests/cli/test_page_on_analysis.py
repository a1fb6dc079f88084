"""What `docs/analysis.md` shows is what the commands print."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pytest

pytest.importorskip("msgspec")

from otel_harn_steps.cli._command import main
from tests.cli.example_store import write_example

PAGE = (Path(__file__).parent.parent.parent / "docs" / "analysis.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```(?:console|text)\n\$ otel-harn-steps (.+)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
PRINTED = [(command, output) for command, output in SHOWN if output]
FILE = '[[steps]]\ntarget = "newsletter:plan"\nscope = "tree"\nbudget = { max_usd = 0.25 }\n'


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    write_example(folder)
    return folder


@pytest.fixture(autouse=True)
def as_on_the_page(tmp_path, records, monkeypatch):
    (tmp_path / "harn-steps.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for name, value in (("OTEL_HARN_STEPS_RECORDS", str(records)), ("COLUMNS", "80"), ("TZ", "UTC")):
        monkeypatch.setenv(name, value)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("command", "output"), PRINTED, ids=[command for command, _ in PRINTED])
def test_a_command_of_the_page_prints_what_the_page_shows(capsys, command, output):
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output


def test_every_command_is_on_the_page():
    assert {command.split()[0] for command, _ in SHOWN} == {"diff", "whatif", "budget", "watch", "prices"}
    assert len(PRINTED) >= 7
