"""The second half of `docs/tutorial.md`: its commands print what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("msgspec")
pytest.importorskip("openai")

PAGE = (Path(__file__).parent.parent.parent / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|console|toml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NOT_RUN = ("pip", "otel-harn-steps serve")  # tests/page starts it
CHANGING = re.compile(r"\b[0-9a-f]{8}\b|\b[0-9.]+ m?s\b")


def plain(line: str) -> str:
    """A line without what is another in each run."""
    return re.sub(r" +", " ", CHANGING.sub("*", line)).rstrip()


def test_the_commands_print_what_the_page_shows(app):
    provider, agent = (text for kind, text in BLOCKS[:2] if kind == "python")
    app.write("runaway.py", f'{provider}\n\n{agent}\n\nresearch("otters")\n')
    commands = 0
    for kind, text in BLOCKS:
        if kind == "toml":
            app.write("harn-steps.toml", text)
        if kind != "console":
            continue
        shown: list[str] = []
        for line in text.splitlines():
            if not line.startswith("$ "):
                assert plain(line) in shown, f"{line!r} is not printed, or not after the line before it: {shown}"
                del shown[: shown.index(plain(line)) + 1]
            elif not line.startswith(tuple(f"$ {each}" for each in NOT_RUN)):
                words = shlex.split(line.removeprefix("$ "))
                done = app.call(*resolved(app, words))
                shown = [plain(each) for each in (done.stdout + done.stderr).splitlines()]
                commands += 1
    assert commands == 7


def resolved(app, words):
    """The words of a command, run by this Python."""
    python, module, cli, *_ = app.run_command()
    after = [python if word == "python" else word for word in words[1:]]
    return (python, module, cli, *after)
