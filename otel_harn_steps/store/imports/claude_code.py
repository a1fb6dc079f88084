"""The session logs of Claude Code: `~/.claude/projects/PROJECT/SESSION.jsonl`, and those of its sub-agents next to it.

Written from documented shapes (users' descriptions of the files and the readers that others have published, up to
November 2026), because Anthropic does not specify them.

- Each line of type "assistant" repeats the usage of the whole answer so far: an answer of three blocks has three lines
  or more. One call is what has one `message.id`; its numbers are those of the line with the most tokens.
- `input_tokens` leaves out what was read from and written to caches, as in Anthropic's API. Ours includes both.
- A sub-agent writes `SESSION/subagents/agent-ID.jsonl`, or `agent-ID.jsonl` next to the session, or lines with
  `isSidechain` in the session's own file. Its own file may repeat lines of the session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._calls.client import Part, Request
from otel_harn_steps._clients.anthropic import ANTHROPIC
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
from otel_harn_steps.store.imports._writing import RecordsFolder

KIND: Final = "claude-code"
_SUB_AGENT: Final = "sub-agent"
_MAIN: Final = ""
"""Whose lines are those of no sub-agent."""
_SYNTHETIC: Final = "<synthetic>"  # the model of messages that the program has written itself
_PROVIDERS: Final = {"msg_bdrk_": "aws.bedrock", "msg_vrtx_": "gcp.vertex_ai"}


def default_folder() -> Path:
    """Where Claude Code keeps its logs."""
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude") / "projects"


def is_line(values: Mapping[str, Any]) -> bool:
    """Whether a line is of this kind."""
    return "sessionId" in values and "type" in values


def runs_in(files: Iterable[Path], folder: RecordsFolder, problems: Problems) -> Iterator[ImportedRun]:
    """The sessions that the files are of, each whole: with the files of its sub-agents.

    A session that was resumed may begin with a copy of the one before. What is in both is the earlier one's.

    Raises:
        OSError: a file cannot be read.
    """
    found = {each for path in files if (each := _session_of(path)) is not None}
    sessions: dict[str, list[tuple[str, Path]]] = {}
    agents = {place: _agents_in(place) for place, _ in found}
    for place, session_id in sorted(found):
        sessions.setdefault(session_id, []).extend(_files_of(place, session_id, agents[place]))
    known = folder.calls_of_others(KIND, sessions)
    for session_id in sorted(sessions, key=lambda each: (_begun(sessions[each]), each)):
        session = _Session(session_id)
        for agent, path in sessions[session_id]:
            session.read(path, agent, problems)
        run = session.run(known)
        if run is not None:
            known |= run.seen or frozenset()
            yield run


def _begun(files: Iterable[tuple[str, Path]]) -> int:
    """When the first line of a session with a time was written."""
    lines = (values for _, path in files for _, values in json_lines(path, Problems()))
    return next((at for values in lines if (at := time_in(values, "timestamp")) is not None), 0)


def _session_of(path: Path) -> tuple[Path, str] | None:
    """The folder of a project and the session in it that a file is of. None: it is of none."""
    for above in path.parents:
        if above.name == "subagents":
            return above.parent.parent, above.parent.name
    if not path.name.startswith("agent-"):
        return path.parent, path.stem
    for _, values in json_lines(path, Problems()):
        session_id = text_in(values, "sessionId")
        if session_id is not None:
            return path.parent, session_id
    return None


def _agents_in(folder: Path) -> dict[str, list[Path]]:
    """The logs of sub-agents that are next to those of sessions, by these."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("agent-*.jsonl")):
        session = _session_of(path)
        if session is not None:
            found.setdefault(session[1], []).append(path)
    return found


def _files_of(folder: Path, session_id: str, agents: Mapping[str, list[Path]]) -> Iterator[tuple[str, Path]]:
    """The files of a session, with the sub-agents that they are of."""
    main = folder / f"{session_id}.jsonl"
    if main.exists():
        yield _MAIN, main
    below = folder / session_id / "subagents"
    for path in sorted(below.rglob("agent-*.jsonl")):
        yield path.stem.removeprefix("agent-"), path
    for path in agents.get(session_id, ()):
        yield path.stem.removeprefix("agent-"), path


class _Answer:
    """A call, from all lines that are about it."""

    __slots__ = ("agent", "labels", "message", "sent_at", "size")

    def __init__(self, agent: str, sent_at: int, labels: Mapping[str, str]) -> None:
        self.agent = agent
        self.sent_at = sent_at
        self.labels = labels
        self.message: Mapping[str, Any] = {}
        self.size = -1

    def add(self, agent: str, sent_at: int, message: Mapping[str, Any]) -> None:
        """Add a line. A sub-agent's log may repeat what the session has asked: then it is the session's."""
        if agent == _MAIN:
            self.agent = agent
        self.sent_at = min(self.sent_at, sent_at)
        usage = mapping_in(message, "usage")
        size = sum(each for each in usage.values() if isinstance(each, int))
        if size > self.size:
            self.message, self.size = message, size


class _Thread:
    """The session itself, or a sub-agent: when it was at work, and what it is called."""

    __slots__ = ("ended_at", "labels", "started_at")

    def __init__(self, at: int, labels: Mapping[str, str]) -> None:
        self.started_at = self.ended_at = at
        self.labels = labels


class _Session:
    """A session, as its files are read."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._run_id = stable_id(KIND, session_id)
        self._answers: dict[str, _Answer] = {}
        self._threads: dict[str, _Thread] = {}
        self._tool_calls: dict[str, tuple[str, str | None]] = {}  # who has made it, and the sub-agent's type
        self._spawned: dict[str, str] = {}  # the tool call that has started a sub-agent
        self._kinds: dict[str, str] = {}  # the type of a sub-agent, where its own file says it
        self._chains: dict[str, str] = {}  # which sub-agent a line is of that names none
        self._project: str | None = None

    def read(self, path: Path, agent: str, problems: Problems) -> None:
        """Read one of its files."""
        if agent:
            self._read_meta(path.with_name(f"{path.stem}.meta.json"), agent)
        for number, values in json_lines(path, problems):
            at = time_in(values, "timestamp")
            if at is None:  # a summary, a snapshot: nothing that was asked
                continue
            labels = _labels(values)
            self._project = self._project or labels.get("project")
            if values.get("type") == "progress":
                self._read_progress(values, at, labels, f"{path.name}:{number}")
                continue
            whose = agent or self._agent_of(values)
            self._see(whose, at, labels)
            self._link(values, whose)
            if values.get("type") == "assistant":
                self._answer(values, whose, at, labels, f"{path.name}:{number}")

    def _read_meta(self, path: Path, agent: str) -> None:
        with suppress(OSError, ValueError, RecursionError):
            meta = json.loads(path.read_bytes())
            if isinstance(meta, dict):
                spawned_by, kind = text_in(meta, "toolUseId"), text_in(meta, "agentType")
                if spawned_by is not None:
                    self._spawned[agent] = spawned_by
                if kind is not None:
                    self._kinds[agent] = kind

    def _read_progress(self, values: Mapping[str, Any], at: int, labels: Mapping[str, str], place: str) -> None:
        """What a sub-agent does at the moment, as the session's file may tell it."""
        data = mapping_in(values, "data")
        agent, told = text_in(data, "agentId"), mapping_in(data, "message")
        if agent is None or told.get("type") != "assistant":
            return
        self._see(agent, at, labels)
        spawned_by = text_in(values, "parentToolUseID")
        if spawned_by is not None:
            self._spawned.setdefault(agent, spawned_by)
        self._answer(told, agent, time_in(told, "timestamp") or at, labels, place)

    def _agent_of(self, values: Mapping[str, Any]) -> str:
        """The sub-agent that a line of the session's own file is of."""
        if values.get("isSidechain") is not True:
            return _MAIN
        named = text_in(values, "agentId")
        own, before = text_in(values, "uuid"), text_in(values, "parentUuid")
        whose = named or self._chains.get(before or "") or own or _SUB_AGENT
        if own is not None:
            self._chains[own] = whose
        return whose

    def _see(self, agent: str, at: int, labels: Mapping[str, str]) -> None:
        thread = self._threads.setdefault(agent, _Thread(at, labels))
        thread.started_at, thread.ended_at = min(thread.started_at, at), max(thread.ended_at, at)
        thread.labels = {**labels, **thread.labels}

    def _link(self, values: Mapping[str, Any], whose: str) -> None:
        """Note which tool call has started which sub-agent, and of what type: ids and names alone."""
        content = mapping_in(values, "message").get("content")
        blocks = [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
        for block in blocks:
            tool_call = text_in(block, "id")
            if block.get("type") == "tool_use" and tool_call is not None:
                self._tool_calls[tool_call] = whose, text_in(mapping_in(block, "input"), "subagent_type")
        agent = text_in(mapping_in(values, "toolUseResult"), "agentId")
        answered = next((each for block in blocks if (each := text_in(block, "tool_use_id"))), None)
        if agent is not None and answered is not None:
            self._spawned.setdefault(agent, answered)

    def _answer(self, values: Mapping[str, Any], agent: str, at: int, labels: Mapping[str, str], place: str) -> None:
        message = mapping_in(values, "message")
        if message.get("model") == _SYNTHETIC or not mapping_in(message, "usage"):
            return
        # An id of Anthropic's is the only one of its kind, whatever request is said to have made it.
        message_id, request_id = text_in(message, "id"), text_in(values, "requestId")
        if message_id is None:
            key = stable_id(KIND, self._session_id, request_id or text_in(values, "uuid") or place)
        elif message_id.startswith("msg_"):
            key = stable_id(KIND, message_id)
        else:
            key = stable_id(KIND, self._session_id, message_id, request_id or str(at))
        self._answers.setdefault(key, _Answer(agent, at, labels)).add(agent, at, message)

    def run(self, others: set[str]) -> ImportedRun | None:
        """The session as a run, without the calls that are those of others. None: no model was asked in it."""
        if not self._answers:
            return None
        steps = self._steps()
        own = ((call_id, answer) for call_id, answer in self._answers.items() if call_id not in others)
        for call_id, answer in sorted(own, key=lambda each: (each[1].sent_at, each[0])):
            for number, (part, model) in enumerate(_parts_of(answer.message)):
                steps[answer.agent].call(
                    call_id if number == 0 else stable_id(call_id, str(number)),
                    sent_at=answer.sent_at,
                    provider=_provider_of(answer.message),
                    model=model,
                    usage=part.usage,
                    terms=part.terms,
                    labels=answer.labels,
                )
        run = ImportedRun(
            kind=KIND,
            source=self._session_id,
            run_id=self._run_id,
            name=self._project or KIND,
            program=KIND,
            started_at=min(each.started_at for each in steps.values()),
            ended_at=max(each.ended_at for each in steps.values()),
        )
        add_tool_steps(run, steps.values())
        rows = (row.call_id for step in steps.values() for row in step.rows)
        run.seen = frozenset((*rows, *self._answers, *(each.step_id for each in steps.values())))
        return run

    def _steps(self) -> dict[str, ToolStep]:
        """The session and its sub-agents as steps, each within the one that has started it."""
        first = min(self._threads.values(), key=lambda each: each.started_at)
        self._threads.setdefault(_MAIN, first)
        steps = {agent: self._step(agent, thread) for agent, thread in self._threads.items()}
        for agent, step in steps.items():
            if agent:
                started_by, _ = self._started_by(agent)
                _nest(step, steps.get(started_by, steps[_MAIN]), steps[_MAIN])
        return steps

    def _started_by(self, agent: str) -> tuple[str, str | None]:
        """Who has started a sub-agent, and of which type."""
        return self._tool_calls.get(self._spawned.get(agent, ""), (_MAIN, None))

    def _step(self, agent: str, thread: _Thread) -> ToolStep:
        name = (self._kinds.get(agent) or self._started_by(agent)[1] or _SUB_AGENT) if agent else KIND
        return ToolStep(
            step_id=stable_id(KIND, self._session_id, agent),
            run_id=self._run_id,
            name=name,
            agent=name,
            labels=thread.labels,
            started_at=thread.started_at,
            ended_at=thread.ended_at,
        )


def _nest(step: ToolStep, parent: ToolStep, main: ToolStep) -> None:
    """Put a step into another one, and not into itself by way of others."""
    above: ToolStep | None = parent
    while above is not None and above is not step:
        above = above.parent
    step.parent = main if above is step else parent


def _labels(values: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "project": folder_name(text_in(values, "cwd")),
        "branch": text_in(values, "gitBranch"),
        "version": text_in(values, "version"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _parts_of(message: Mapping[str, Any]) -> Iterator[tuple[Part, str | None]]:
    """What each model has used in a call: one, and those that advise it."""
    parsed = ANTHROPIC.parse(Request("chat", "anthropic", None), message)
    return ((part, part.model or parsed.model) for part in parsed.parts)


def _provider_of(message: Mapping[str, Any]) -> str:
    message_id = text_in(message, "id") or ""
    return next((each for start, each in _PROVIDERS.items() if message_id.startswith(start)), "anthropic")
