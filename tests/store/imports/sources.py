"""Files as the tools write them, in the shapes that are documented: invented, and without a conversation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from otel_harn_steps.store import JournalReader, RunSummary, Store
from otel_harn_steps.store.imports import ImportReport, import_files

SESSION = "4de9291e-061e-414a-85cb-de615826aded"
WORDS = "…"
"""In every place where a tool keeps what was asked and answered."""


def write_lines(path: Path, lines: Iterable[dict[str, Any] | str]) -> Path:
    """Write a file of JSON lines. A text is a line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def imported(kind: str, path: Path, folder: Path) -> tuple[ImportReport, RunSummary]:
    """Import a file or a folder. Returns the report, and what the folder holds then."""
    report = import_files(kind, [path], folder)
    return report, RunSummary(JournalReader(folder).poll())


def paths_and_calls(summary: RunSummary) -> list[tuple[str, int]]:
    """The steps with how many calls each has made itself."""
    return sorted((step.path, step.own.calls) for step in summary.steps.values())


def everything(folder: Path) -> str:
    """All that is written in a folder."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.js*")))


def indexed(folder: Path) -> Any:
    """What the index says that all calls have spent."""
    with Store(folder) as store:
        store.update()
        return store.report().total


# -- Claude Code ---------------------------------------------------------------------------------------------------------


def answer(
    message_id: str | None,
    at: str = "12:00:00.000",
    output: int = 40,
    *,
    tools: Iterable[tuple[str, str]] = (),
    model: str = "claude-haiku-4-5-20251001",
    usage: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """A line of type "assistant": 3 tokens read, 500 written to a cache, 9,000 from it. `tools`: ids, and sub-agents."""
    blocks = [
        {"type": "tool_use", "id": tool, "name": "Task", "input": {"subagent_type": kind, "prompt": WORDS}}
        for tool, kind in tools
    ]
    return {
        "parentUuid": None,
        "isSidechain": False,
        "userType": "external",
        "cwd": "/home/me/shop",
        "sessionId": SESSION,
        "version": "2.1.63",
        "gitBranch": "main",
        "type": "assistant",
        "timestamp": f"2026-03-08T{at}Z",
        "requestId": f"req_{message_id}",
        "message": {
            "id": message_id,
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": blocks or [{"type": "text", "text": WORDS}],
            "stop_reason": None,
            "usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 500,
                "cache_read_input_tokens": 9000,
                "output_tokens": output,
                "service_tier": "standard",
                "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 0},
            }
            | (usage or {}),
        },
    } | fields


def asked(at: str = "11:59:59.000", **fields: Any) -> dict[str, Any]:
    """A line of type "user"."""
    return (
        answer(None, at) | {"type": "user", "requestId": None, "message": {"role": "user", "content": WORDS}} | fields
    )


# -- Codex ---------------------------------------------------------------------------------------------------------------


def codex_line(at: str, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """A line of a rollout."""
    return {"timestamp": f"2026-05-01T{at}Z", "type": kind, "payload": payload}


def meta(thread_id: str, at: str = "10:00:00.000", **more: Any) -> dict[str, Any]:
    """The first line of a rollout."""
    payload = {
        "id": thread_id,
        "timestamp": f"2026-05-01T{at}Z",
        "cwd": "/home/me/shop",
        "originator": "codex_cli_rs",
        "cli_version": "0.145.0",
        "instructions": WORDS,
        "source": "cli",
        "model_provider": "openai",
        "git": {"branch": "main"},
    }
    return codex_line(at, "session_meta", payload | more)


def turn(model: str = "gpt-5", at: str = "10:00:01.000") -> dict[str, Any]:
    """The line with the model of what follows."""
    return codex_line(at, "turn_context", {"cwd": "/home/me/shop", "model": model, "effort": "high"})


def used(input_tokens: int, output_tokens: int, cached: int = 0, reasoning: int = 0, **more: int) -> dict[str, int]:
    """Usage as Codex tells it."""
    return {
        "input_tokens": input_tokens,
        "cached_input_tokens": cached,
        "output_tokens": output_tokens,
        "reasoning_output_tokens": reasoning,
        "total_tokens": input_tokens + output_tokens,
    } | more


def tokens(at: str, total: dict[str, int] | None, last: dict[str, int] | None) -> dict[str, Any]:
    """An event "token_count"."""
    info = {"total_token_usage": total, "last_token_usage": last, "model_context_window": 272_000}
    kept = {name: value for name, value in info.items() if value is not None}
    return codex_line(at, "event_msg", {"type": "token_count", "info": kept if total or last else None})
