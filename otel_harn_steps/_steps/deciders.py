"""Where a person decides whether a paused step may spend more: in a folder, or at the terminal."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final, TextIO

from otel_harn_steps import _process
from otel_harn_steps._steps.budget import LIMITS, checked_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_harn_steps._steps.errors import StepBudgetExceeded

_LOOK_AGAIN_S: Final = 0.2
TTY: Final = Path("/dev/tty")
_LONGEST_NAME: Final = 80


def limits_of(text: str) -> dict[str, float]:
    """What an answer raises: "raise max_usd=2 max_calls=40". Nothing of "stop".

    Raises:
        ValueError: it is neither. The message says what is allowed.
    """
    words = text.split()
    if words == ["stop"]:
        return {}
    raised: dict[str, float] = {}
    for word in words[1:]:
        limit, _, value = word.partition("=")
        if limit not in LIMITS:
            raise ValueError(f"{limit!r} is no limit; known: {', '.join(LIMITS)}")
        try:
            number = float(value)
            raised[limit] = checked_value(limit, int(number) if number.is_integer() else number)
        except (TypeError, ValueError):
            raise ValueError(f"{word!r} has no number that {limit} can be") from None
    if words[:1] != ["raise"] or not raised:
        raise ValueError(f'must be "stop", or "raise" with limits, as in "raise max_usd=2", not {text.strip()!r}')
    return raised


# -- a folder ----------------------------------------------------------------------------------------------------------


def ask_in_folder(folder: str, account: Any, error: StepBudgetExceeded) -> Mapping[str, float]:
    """Put the question in a file of `folder`, and wait for a file with the answer, for the budget's `wait_seconds`."""
    until = monotonic() + account.definition.budget.wait_seconds
    place = Path(folder)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', error.step)[:_LONGEST_NAME]}-{_process.new_id()}"
    question, answer = place / f"{name}.json", place / f"{name}.answer"
    asked = _question(account, error, answer)
    try:
        _write(question, asked)
        while monotonic() < until:
            given = _read(answer)
            if given is not None:
                try:
                    return limits_of(given)
                except ValueError as mistake:
                    answer.unlink(missing_ok=True)
                    _write(question, {**asked, "mistake": str(mistake)})
            sleep(_LOOK_AGAIN_S)
        return {}
    finally:
        question.unlink(missing_ok=True)
        answer.unlink(missing_ok=True)


def _question(account: Any, error: StepBudgetExceeded, answer: Path) -> dict[str, object]:
    budget = account.definition.budget
    return {
        "message": str(error),
        "answer_in": str(answer),
        "answers": ["stop", f"raise {error.limit}={_twice(error)}"],
        "step": error.step,
        "path": account.path,
        "limit": error.limit,
        "limit_value": error.limit_value,
        "consumed": error.consumed,
        "consumed_tokens": error.consumed_tokens,
        "consumed_cost_usd": error.consumed_cost_usd,
        "run_id": _process.run_id,
        "step_id": account.step_id,
        "pid": os.getpid(),
        "asked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "wait_seconds": budget.wait_seconds,
    }


def _write(path: Path, values: dict[str, object]) -> None:
    """Write a file that is there whole or not at all, for its owner alone."""
    unfinished = path.with_suffix(".unfinished")
    with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(values, file, ensure_ascii=False, indent=1)
    unfinished.replace(path)


def _read(answer: Path) -> str | None:
    """The answer. None: there is none, or it is not written to its end of line yet."""
    try:
        text = answer.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if text.endswith("\n") else None


# -- the terminal ------------------------------------------------------------------------------------------------------


def ask_in_terminal(_: Any, error: StepBudgetExceeded) -> Mapping[str, float]:
    """Ask whoever sits at the terminal, whatever stdin and stdout are."""
    with TTY.open(encoding="utf-8") as keyboard, TTY.open("w", encoding="utf-8") as screen:
        return _ask(error, keyboard, screen)


def _ask(error: StepBudgetExceeded, keyboard: TextIO, screen: TextIO) -> Mapping[str, float]:
    suggested = _twice(error)
    # The name of a step may be anything, and a terminal obeys some of it.
    message = "".join(each if each.isprintable() else "?" for each in str(error))
    question = f"otel-harn-steps: {message}\n  Enter raises {error.limit} to {suggested}, a number to that; s stops: "
    while True:
        screen.write(question)
        screen.flush()
        given = keyboard.readline()
        text = given.strip()
        if not given or text.lower() in ("s", "stop"):  # without a line, the terminal is gone
            return {}
        with suppress(ValueError):
            raised = limits_of(f"raise {error.limit}={text or suggested}")
            if raised[error.limit] > error.limit_value:
                return raised
        question = f"  {error.limit} must be a number above {_number(error.limit_value)}, or s: "


def _twice(error: StepBudgetExceeded) -> str:
    """A limit that would be enough for as much again."""
    return _number(2 * max(error.limit_value, error.consumed if error.limit_value == 0 else 0) or 1)


def _number(value: float) -> str:
    return f"{value:.10g}"
