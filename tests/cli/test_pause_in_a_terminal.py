"""`error_boundary="pause"` under `otel-harn-steps run` in a terminal: whoever sits there decides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

fcntl = pytest.importorskip("fcntl", reason="needs pseudo terminals")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

# Its own stdin and stdout are no terminal, as those of a program in a pipe.
PROGRAM = """
    import otel_harn_steps as harn

    with harn.step("plan\\x1b[2J", max_usd=1, error_boundary="pause"):
        for _ in range(3):
            harn.record_llm_usage("m", 1, 1, cost_usd=1)
    print("done")
"""


@dataclass
class Terminal:
    """A terminal that a program runs in, and somebody who types."""

    screen: int
    other_end: int
    shown: str = ""

    def types_when_shown(self, text: str, *, answer: str) -> None:
        """Wait until the program has shown a text, and type a line."""
        while text not in self.shown:
            self.shown += os.read(self.screen, 4096).decode()
        self.shown = self.shown.partition(text)[2]
        os.write(self.screen, f"{answer}\n".encode())

    def take(self) -> None:
        """Make it the terminal of this process, which begins a session (to be called in a child)."""
        os.setsid()
        fcntl.ioctl(self.other_end, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    screen, other_end = pty.openpty()
    yield Terminal(screen, other_end)
    os.close(screen)
    os.close(other_end)


def run(app: Any, terminal: Terminal, *options: str, **more: Any) -> Any:
    app.write("main.py", PROGRAM)
    return app.start(
        *app.run_command("python", "main.py", options=("--json", "run.json", "--no-table", *options)),
        **({"stdin": terminal.other_end, "stderr": terminal.other_end, "preexec_fn": terminal.take} | more),
    )


def record(app: Any) -> dict[str, Any]:
    return app.records()[-1]


def test_a_number_enter_and_s_decide(app: Any, terminal: Terminal) -> None:
    with run(app, terminal, "--step-records", "records.jsonl") as program:
        terminal.types_when_shown("Enter raises max_usd to 2, a number to that; s stops: ", answer="cheap")
        terminal.types_when_shown("max_usd must be a number above 1, or s: ", answer="")
        terminal.types_when_shown("Enter raises max_usd to 4, a number to that; s stops: ", answer="3.5")
        out, _ = program.communicate(timeout=60)
    assert (program.returncode, out) == (0, "done\n")
    assert record(app)["budget_events"] == [
        "paused:max_usd", "decided:terminal", "raised:max_usd=2",
        "paused:max_usd", "decided:terminal", "raised:max_usd=3.5",
    ]  # fmt: skip


def test_s_stops_the_program_and_names_are_shown_without_their_escapes(app: Any, terminal: Terminal) -> None:
    with run(app, terminal, "--step-records", "records.jsonl") as program:
        terminal.types_when_shown("step `plan?[2J` exceeded max_usd budget ($2.000000 > $1.000000)", answer="s")
        program.communicate(timeout=60)
    assert program.returncode == 1
    assert record(app)["budget_events"] == ["paused:max_usd", "decided:terminal", "stopped:max_usd"]


def test_without_a_terminal_nobody_is_asked(app: Any, terminal: Terminal) -> None:
    with run(app, terminal, "--step-records", "records.jsonl", stdin=-3, stderr=-1) as program:
        _, err = program.communicate(timeout=60)
    assert "there is nobody to decide" in err
    assert record(app)["budget_events"] == ["paused:max_usd", "decided:nobody", "stopped:max_usd"]
