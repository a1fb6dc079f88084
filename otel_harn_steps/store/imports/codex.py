"""The rollouts of Codex: `~/.codex/sessions/YYYY/MM/DD/rollout-TIME-THREAD.jsonl`, one file a thread.

Written from documented shapes (its source is public, the files are no specified interface), up to November 2026.

- An event "token_count" has what the last request used (`last_token_usage`) and what the thread has used until then
  (`total_token_usage`). It is repeated without a new request: then the total is what it was.
- `cached_input_tokens` are a part of the input, as what is written to a cache; reasoning is a part of the output.
- A thread that was forked off another, or started as a sub-agent, may begin with a copy of the other's events, with
  times of its own. What is as at the beginning of the other one is such a copy. If that is not there, the copy is what
  was written at once: events that are a second apart, at most.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._calls.usage_table import usage_table
from otel_harn_steps._cost.usage import LIST_PRICE, Terms, Usage
from otel_harn_steps.store.imports._lines import (
    Problems,
    folder_name,
    json_lines,
    mapping_in,
    stable_id,
    text_in,
    time_in,
)
from otel_harn_steps.store.imports._runs import ImportedRun, ToolStep, add_tool_steps

KIND: Final = "codex"
_SUB_AGENT: Final = "sub-agent"
_TYPES: Final = frozenset({"session_meta", "turn_context", "event_msg", "response_item", "compacted"})
_COPIED_WITHIN_NS: Final = 10**9
_PROVIDERS: Final = {"azure": "azure.ai.openai"}
_TIERS: Final = {"fast": "priority", "priority": "priority", "flex": "flex"}
_usage: Final = usage_table(
    input_tokens="input_tokens",
    output_tokens="output_tokens",
    cache_read_tokens=("cached_input_tokens", "cache_read_input_tokens"),
    cache_write_tokens=("cache_write_input_tokens", "cache_creation_input_tokens"),
    reasoning_tokens="reasoning_output_tokens",
)


def default_folder() -> Path:
    """Where Codex keeps its rollouts."""
    return Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex") / "sessions"


def is_line(values: Mapping[str, Any]) -> bool:
    """Whether a line is of this kind."""
    return text_in(values, "type") in _TYPES and isinstance(values.get("payload"), dict)


@dataclass(slots=True)
class _Call:
    """A request. `total`: what the thread had used after it; None where it is not told."""

    at: int
    usage: Usage
    total: Usage | None
    model: str | None
    terms: Terms


@dataclass(slots=True)
class _Thread:
    """A rollout, as it is read."""

    thread_id: str = ""
    parent_id: str | None = None
    is_sub_agent: bool = False
    name: str = KIND
    provider: str = "openai"
    labels: dict[str, str] = field(default_factory=dict)
    started_at: int = 0
    ended_at: int = 0
    calls: list[_Call] = field(default_factory=list)


def runs_in(files: Iterable[Path], problems: Problems) -> Iterator[ImportedRun]:
    """The threads that the files are of; those of sub-agents are parts of the run that they were started in.

    Raises:
        OSError: a file cannot be read.
    """
    threads: dict[str, _Thread] = {}
    for path in files:
        thread = _Reader(path, problems).thread
        if thread.thread_id:
            threads.setdefault(thread.thread_id, thread)
    own = {each.thread_id: _without_copies(each, threads.get(each.parent_id or "")) for each in threads.values()}
    families: dict[str, list[_Thread]] = {}
    for thread in threads.values():
        families.setdefault(_root_of(thread, threads), []).append(thread)
    for root_id, family in families.items():
        if any(own[each.thread_id] for each in family):
            yield _run(root_id, sorted(family, key=lambda each: (each.started_at, each.thread_id)), own)


class _Reader:
    """Reads a rollout."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self.thread = _Thread()
        self._is_described = False
        self._model: str | None = None
        self._terms: Terms = LIST_PRICE
        self._total: Usage | None = None
        self._requests: dict[str, _Call] = {}  # that may turn out to have made a thread's history shorter
        self._last_request: str | None = None
        for _, values in json_lines(path, problems):
            at, payload = time_in(values, "timestamp"), mapping_in(values, "payload")
            if at is not None:
                self._read(str(values.get("type")), payload, at)
        if self.thread.calls and not self.thread.thread_id:
            self.thread.thread_id = path.stem.removeprefix("rollout-")

    def _read(self, kind: str, payload: Mapping[str, Any], at: int) -> None:
        thread = self.thread
        thread.started_at, thread.ended_at = min(thread.started_at or at, at), max(thread.ended_at, at)
        if kind == "session_meta" and not self._is_described:  # a fork has that of the other thread after its own
            self._is_described = True
            _describe(thread, payload)
        elif kind == "turn_context":
            self._model = text_in(payload, "model") or self._model
        elif kind == "token_usage_record":
            self._note_request(payload, at)
        elif kind == "compacted":
            self._count_compaction(payload)
        elif kind == "event_msg" and payload.get("type") == "thread_settings_applied":
            tier = text_in(mapping_in(payload, "thread_settings"), "service_tier")
            if tier is not None:
                self._terms = (("service_tier", _TIERS[tier]),) if tier in _TIERS else LIST_PRICE
        elif kind == "event_msg" and payload.get("type") == "token_count":
            self._count_tokens(mapping_in(payload, "info"), at)

    def _count_tokens(self, info: Mapping[str, Any], at: int) -> None:
        total, last = _usage(info.get("total_token_usage")), _usage(info.get("last_token_usage"))
        if total is not None and total == self._total:  # told once more
            return
        if last is None and total is not None:
            last = total if self._total is None else _minus(total, self._total)
        self._total = total or self._total
        if last is None or last == Usage(0, 0):
            return
        self._model = text_in(info, "model") or self._model
        self.thread.calls.append(_Call(at, last, total, self._model, self._terms))
        request = self._requests.get(self._last_request or "")
        if request is not None and (request.usage == last or request.total == total):
            self._requests.pop(self._last_request or "")

    def _note_request(self, payload: Mapping[str, Any], at: int) -> None:
        self._last_request = text_in(payload, "response_id")
        used = _usage(payload.get("usage"))
        if self._last_request is not None and used is not None:
            total = _usage(payload.get("thread_token_usage"))
            model = text_in(payload, "model") or self._model
            self._requests.setdefault(self._last_request, _Call(at, used, total, model, self._terms))

    def _count_compaction(self, payload: Mapping[str, Any]) -> None:
        """A history that was made shorter: a request that no "token_count" may tell."""
        request = self._requests.pop(text_in(payload, "compaction_response_id") or "", None)
        if request is not None:
            self.thread.calls.append(request)


def _describe(thread: _Thread, meta: Mapping[str, Any]) -> None:
    thread.thread_id = text_in(meta, "id") or ""
    source = meta.get("source")
    sub_agent = source.get("subagent") if isinstance(source, dict) else None
    spawned = mapping_in(sub_agent, "thread_spawn") if isinstance(sub_agent, dict) else {}
    parent = text_in(spawned, "parent_thread_id") or text_in(meta, "parent_thread_id")
    thread.is_sub_agent = sub_agent is not None or text_in(meta, "thread_source") == "subagent"
    thread.parent_id = parent or text_in(meta, "forked_from_id")
    if thread.is_sub_agent:
        thread.name = text_in(spawned, "agent_role") or (sub_agent if isinstance(sub_agent, str) else _SUB_AGENT)
    provider = text_in(meta, "model_provider") or "openai"
    thread.provider = _PROVIDERS.get(provider, provider)
    labels = {
        "project": folder_name(text_in(meta, "cwd")),
        "branch": text_in(mapping_in(meta, "git"), "branch"),
        "version": text_in(meta, "cli_version"),
    }
    thread.labels = {name: value for name, value in labels.items() if value is not None}


def _minus(total: Usage, before: Usage) -> Usage:
    return Usage(
        max(0, (total.input_tokens or 0) - (before.input_tokens or 0)),
        max(0, (total.output_tokens or 0) - (before.output_tokens or 0)),
        max(0, total.cache_read_tokens - before.cache_read_tokens),
        max(0, total.cache_write_tokens - before.cache_write_tokens),
        reasoning_tokens=max(0, total.reasoning_tokens - before.reasoning_tokens),
    )


def _without_copies(thread: _Thread, parent: _Thread | None) -> list[tuple[int, _Call]]:
    """The thread's own requests, each with its number among all that its file has."""
    calls = list(enumerate(thread.calls))
    if thread.parent_id is None or thread.parent_id == thread.thread_id:
        return calls
    copied = 0
    theirs = [] if parent is None else parent.calls
    while copied < min(len(calls), len(theirs)) and _is_same(thread.calls[copied], theirs[copied]):
        copied += 1
    if copied:
        return calls[copied:]
    while copied + 1 < len(calls) and thread.calls[copied + 1].at - thread.calls[copied].at <= _COPIED_WITHIN_NS:
        copied += 1
    return calls[copied + 1 :] if copied else calls


def _is_same(one: _Call, other: _Call) -> bool:
    return one.total is not None and (one.usage, one.total) == (other.usage, other.total)


def _root_of(thread: _Thread, threads: Mapping[str, _Thread]) -> str:
    """The thread that a sub-agent was started in, by way of others or not; else the thread itself."""
    seen = {thread.thread_id}
    while thread.is_sub_agent and thread.parent_id is not None and thread.parent_id not in seen:
        seen.add(thread.parent_id)
        if thread.parent_id not in threads:
            return thread.parent_id
        thread = threads[thread.parent_id]
    return thread.thread_id


def _run(root_id: str, family: list[_Thread], own: Mapping[str, list[tuple[int, _Call]]]) -> ImportedRun:
    run_id, first = stable_id(KIND, root_id), family[0]
    run = ImportedRun(
        kind=KIND,
        source=root_id,
        run_id=run_id,
        name=first.labels.get("project", KIND),
        program=KIND,
        started_at=first.started_at,
        ended_at=max(each.ended_at for each in family),
        replaces=tuple(each.thread_id for each in family if each.thread_id != root_id),
    )
    if all(each.thread_id != root_id for each in family):  # its log is not there: it has begun, and that is all
        family = [_Thread(root_id, labels=first.labels, started_at=first.started_at, ended_at=run.ended_at), *family]
    steps = {each.thread_id: _step(each, run_id) for each in family}
    for thread in family:
        if thread.thread_id != root_id:
            steps[thread.thread_id].parent = steps.get(thread.parent_id or "", steps[root_id])
    for thread in family:
        for number, call in own.get(thread.thread_id, ()):
            steps[thread.thread_id].call(
                _call_id(thread, number),
                sent_at=call.at,
                provider=thread.provider,
                model=call.model,
                usage=call.usage,
                terms=call.terms,
                labels=thread.labels,
            )
    add_tool_steps(run, steps.values())
    calls = (_call_id(thread, number) for thread in family for number in range(len(thread.calls)))
    run.seen = frozenset((*calls, *(each.step_id for each in steps.values())))
    return run


def _call_id(thread: _Thread, number: int) -> str:
    return stable_id(KIND, thread.thread_id, str(number))


def _step(thread: _Thread, run_id: str) -> ToolStep:
    return ToolStep(
        step_id=stable_id(KIND, "step", thread.thread_id),
        run_id=run_id,
        name=thread.name,
        agent=thread.name,
        labels=thread.labels,
        started_at=thread.started_at,
        ended_at=thread.ended_at,
    )
