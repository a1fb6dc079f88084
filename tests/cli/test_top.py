"""`otel-harn-steps top`: what runs now; and the terminal is as it was, however it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pytest

pytest.importorskip("msgspec", reason="the store needs the extra `cli`")

from otel_harn_steps.cli._text_table import width_of
from otel_harn_steps.cli._top_text import View, Watch, snapshot_lines
from otel_harn_steps.store import Filter, Store
from tests.cli.stores import Written, newsletter

TIMEOUT_S = 60


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def crawl(records):
    """A run that goes on: 8 fetches, of which 2 have not ended."""
    run = Written(records, run_id="aaaaaaaaaaaaaaaa", name="crawl.py")
    run.start("crawl", 0, max_usd=0.5)
    for n in range(8):
        run.start("crawl/fetch", 10 + n, step_id=f"f{n}")
        run.call("crawl/fetch", 58, 0.0125, step_id=f"f{n}")
        if n < 6:
            run.end("crawl/fetch", 59, step_id=f"f{n}")
    run.call("crawl", 40, is_open=True)
    return run


@pytest.fixture
def lines(records):
    """What is shown, 60 seconds after a run began."""

    def lines(run, width=100, height=None, chosen=None, **view):
        with Store(records) as store:
            snapshot = Watch(store, chosen or Filter()).look(run.at(60))
        return [line.text for line in snapshot_lines(snapshot, View(**view), width, height)]

    return lines


def test_runs_and_their_steps_are_shown_with_what_they_spend_a_minute(lines, crawl):
    head, *rest = lines(crawl)
    assert head.startswith("1 run · $0.1000 a minute · $0.1000… in all  ")
    assert re.search(r"by cost · \d\d:\d\d:\d\d$", head)
    assert rest == [
        "  run and step               for  calls      own    total     $/min  budget",
        "  crawl.py aaaaaaaa         60 s      8           $0.1000…  $0.1000",
        "    crawl                   60 s      …        …  $0.1000…  $0.1000  ━━──────── ≤ 20 % of $0.50",
        "      fetch x 8, 2 running  44 s      8  $0.1000  $0.1000   $0.1000",
    ]


def test_in_a_narrow_terminal_the_total_stays(lines, crawl):
    assert lines(crawl, width=80)[1].split() == ["run", "and", "step", "for", "total", "$/min", "budget"]
    assert lines(crawl, width=30)[1].split() == ["run", "and", "step", "total"]
    assert all(width_of(line) <= 60 for line in lines(crawl, width=60))


def test_there_are_no_more_lines_than_the_terminal_has(lines, crawl):
    assert lines(crawl, height=4)[-1] == "  and 2 more lines"
    assert [len(lines(crawl, height=height)) for height in range(7)] == [0, 1, 2, 2, 4, 5, 5]


def test_what_has_just_ended_is_shown_for_a_minute(lines, records):
    run = newsletter(records, began_s=time.time() - 60)  # ended after 42 seconds
    assert lines(run)[2].startswith("  agent.py 7f3a91c2  ")
    with Store(records) as store:
        later = Watch(store, Filter()).look(run.at(42 + 61))
    assert snapshot_lines(later, View(), 80)[1].text == "  nothing runs now"


def test_what_spends_most_or_began_last_comes_first(lines, records):
    run = Written(records)
    for n, (name, usd) in enumerate((("old", 0.03), ("dear", 0.05), ("new", 0.01))):
        run.start(name, 10 * n)
        run.call(name, 58 if name == "old" else -3000, usd)

    def order(sort):
        return [line.split()[0] for line in lines(run, sort=sort)[3:]]

    assert order("cost") == ["dear", "old", "new"]
    assert order("minute")[0] == "old"
    assert order("new") == ["new", "dear", "old"]


def test_a_part_of_a_name_leaves_out_the_others(lines, crawl, records):
    other = Written(records, run_id="bb" * 8, name="other.py")
    other.start("plan")
    assert [line.split()[0] for line in lines(crawl, wanted="FETCH")[2:]] == ["crawl.py", "fetch"]
    assert lines(crawl, wanted="fetch")[0].endswith("/fetch")
    assert lines(crawl, wanted="zzz")[1:] == ["  no name has 'zzz' in it"]
    assert [line.split()[0] for line in lines(crawl, chosen=Filter(steps=("plan",)))[2:]] == ["other.py", "plan"]


def test_a_name_does_nothing_to_the_terminal(lines, records):
    run = Written(records, name="\x1b[2J.py")
    run.start("שלום\x07" + "x" * 10_000)
    shown = lines(run, width=80)
    assert not {"\x1b", "\x07"} & set("".join(shown))
    assert max(map(width_of, shown)) <= 80


def test_once_prints_a_frame_and_ends(app, crawl):
    done = app.call(
        sys.executable, "-m", "otel_harn_steps.cli", "top", "--once", env={"OTEL_HARN_STEPS_RECORDS": str(crawl.folder)}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "fetch x 8, 2 running" in done.stdout
    assert "\x1b" not in done.stdout


# -- live --------------------------------------------------------------------------------------------------------------


class Terminal:
    """`top` in a terminal of its own."""

    def __init__(self, app, records):
        self.outside, inside = pty.openpty()
        self.resize(100, 20)
        self.modes = termios.tcgetattr(self.outside)
        environment = {"TERM": "xterm", "OTEL_HARN_STEPS_RECORDS": str(records)}
        command = (sys.executable, "-m", "otel_harn_steps.cli", "top", "--interval", "0.1")
        self.process = app.start(
            *command, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
        )
        os.close(inside)
        self.shown = b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.outside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.outside, keys.encode())

    def until(self, text, after=0):
        """Read until the text is shown. Returns where it ends."""
        deadline = time.monotonic() + TIMEOUT_S
        while (found := self.shown.find(text.encode(), after)) < 0:
            assert time.monotonic() < deadline, self.shown[after:]
            assert self.read(deadline - time.monotonic()), self.shown[after:]
        return found + len(text.encode())

    def read(self, seconds):
        if not select.select([self.outside], [], [], seconds)[0]:
            return False
        try:
            more = os.read(self.outside, 65_536)
        except OSError:  # the other end is closed
            return False
        self.shown += more
        return bool(more)

    def wait(self):
        deadline = time.monotonic() + TIMEOUT_S
        while self.read(0.1) or self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown[-4000:]
        return self.process.wait(TIMEOUT_S)

    def is_as_it_was(self):
        shown = self.shown
        return (
            shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h") >= 0
            and shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") >= 0
        )


@pytest.fixture
def terminal(app, crawl):
    pytest.importorskip("rich")
    terminal = Terminal(app, crawl.folder)
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait()
    if terminal.outside >= 0:
        os.close(terminal.outside)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("q", 0),
        (signal.SIGINT, 0),
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
    ],
)
def test_however_it_ends_the_terminal_is_as_it_was(terminal, end, code):
    terminal.until("fetch x 8")
    assert termios.tcgetattr(terminal.outside) != terminal.modes

    terminal.press(end) if isinstance(end, str) else terminal.process.send_signal(end)

    assert terminal.wait() == code
    assert terminal.is_as_it_was()
    assert termios.tcgetattr(terminal.outside) == terminal.modes
    assert b"Traceback" not in terminal.shown


def test_a_terminal_that_hangs_up_ends_it(terminal):
    terminal.until("fetch x 8")
    os.close(terminal.outside)
    terminal.outside = -1
    assert terminal.process.wait(TIMEOUT_S) == 128 + signal.SIGHUP


def test_keys_sort_and_filter(terminal):
    at = terminal.until("by cost")
    terminal.press("n")
    at = terminal.until("by new", at)
    terminal.press("/fetcx\x7fh")
    at = terminal.until("/fetch_", at)
    terminal.press("\r")
    at = terminal.until("/fetch\x1b", at)
    terminal.press("\x1b")
    at = terminal.until("by new", at)
    terminal.press("\x1b[A")  # an arrow is no key of ours
    terminal.press("m")
    terminal.until("by minute", at)
    terminal.press("q")
    assert terminal.wait() == 0


def test_what_begins_while_it_looks_arrives(terminal, crawl):
    at = terminal.until("fetch x 8")
    crawl.start("summary", 59)
    terminal.until("summary", at)


def test_a_terminal_of_another_size_is_filled_at_once(terminal):
    at = terminal.until("q quit")
    terminal.resize(50, 6)
    terminal.process.send_signal(signal.SIGWINCH)
    at = terminal.until("q quit", at)
    at = terminal.until("q quit", at)
    frame = terminal.shown[terminal.shown.rfind(b"\x1b[H", 0, at) : at].decode()
    rows = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", frame).splitlines()
    assert len(rows) <= 6
    assert max(map(width_of, rows)) <= 50


def test_it_can_be_stopped_and_go_on(terminal):
    at = terminal.until("q quit")
    terminal.process.send_signal(signal.SIGTSTP)
    os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
    while terminal.read(0.1):
        pass
    assert terminal.is_as_it_was()
    assert termios.tcgetattr(terminal.outside) == terminal.modes
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until("q quit", len(terminal.shown))
    terminal.press("q")
    assert terminal.wait() == 0
    assert at
