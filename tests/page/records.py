"""Journals of two weeks, as four programs would have written them: for tests and for the pictures of the docs.

`write_two_weeks(folder, now)` is the same for the same `now`. It has what a page must be able to show: breaches, failed
and skipped steps, unknown prices, estimates, calls in flight, a program that is still running and one that was killed.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from otel_harn_steps._telemetry.call_row import NO_STEP, CallRow, StartedStep
from otel_harn_steps._telemetry.journal_lines import (
    JournalHeader,
    call_sent_line,
    call_settled_line,
    header_line,
    step_ended_line,
    step_started_line,
)
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.store._run_files import RunFile

SECOND: Final = 10**9
DAY: Final = 24 * 3600 * SECOND
GONE: Final = 2**22 + 1
"""The id of no process: above the most that Linux gives."""


@dataclass(frozen=True)
class Model:
    """A model with its price in pico-dollars for a token of input, cached input and output. None: nobody knows."""

    name: str
    provider: str
    rates: tuple[int, int, int] | None
    tokens_a_second: int = 80


GPT = Model("gpt-5", "openai", (1_250_000, 125_000, 10_000_000))
MINI = Model("gpt-5-mini", "openai", (250_000, 25_000, 2_000_000), 150)
SONNET = Model("claude-sonnet-4-5", "anthropic", (3_000_000, 300_000, 15_000_000))
FLASH = Model("gemini-2.5-flash", "gcp.gen_ai", (300_000, 75_000, 2_500_000), 200)
LLAMA = Model("llama3.3:70b", "ollama", None, 25)


@dataclass(frozen=True)
class Step:
    """A step of a program: how often it calls which model with how much, and what it does inside."""

    name: str
    model: Model
    calls: tuple[int, int]
    tokens: tuple[int, int]
    cached: float = 0.0
    max_usd: float | None = None
    boundary: str | None = None
    agent: str | None = None
    inside: tuple[Step, ...] = ()


PROGRAMS: Final[Mapping[str, tuple[Step, ...]]] = {
    "research_agent.py": (
        Step("plan", GPT, (1, 2), (2_400, 900), 0.5, agent="planner"),
        Step(
            "retrieve", FLASH, (4, 14), (6_500, 260), 0.2, 0.05, "continue", "researcher",
            (Step("rerank", MINI, (1, 4), (3_800, 120), 0.0, agent="researcher"),),
        ),
        Step(
            "write", SONNET, (1, 3), (9_000, 1_500), 0.6, 0.21, "fail", "writer",
            (Step("critique", GPT, (1, 2), (5_200, 700), 0.3, agent="critic"),),
        ),
    ),
    "support_bot": (
        Step("classify", MINI, (1, 1), (700, 20), 0.8, 0.002, "continue"),
        Step("answer", SONNET, (1, 4), (4_200, 420), 0.75, 0.08, "skip"),
        Step("summarise", LLAMA, (0, 1), (1_900, 240)),
    ),
    "newsletter.py": (
        Step("newsletter", GPT, (1, 1), (1_500, 900), 0.0, 0.5, "fail", inside=(
            Step("digest", SONNET, (2, 5), (3_000, 500), 0.4),
            Step("weather", FLASH, (1, 1), (9_400, 580), 0.85, 0.0058, "skip"),
            Step("headline", MINI, (1, 2), (900, 60)),
        )),
    ),
    "nightly_eval": (
        Step("judge", GPT, (12, 30), (2_100, 180), 0.7, 0.4, "fail"),
        Step("embed", MINI, (2, 6), (5_000, 8)),
    ),
}  # fmt: skip
_HOURS: Final = {"research_agent.py": (9, 18), "support_bot": (7, 23), "newsletter.py": (6, 7), "nightly_eval": (2, 3)}
_RUNS_A_DAY: Final = {"research_agent.py": 3, "support_bot": 7, "newsletter.py": 1, "nightly_eval": 1}


def write_two_weeks(folder: Path, now: int, *, days: int = 14) -> None:
    """Write the journals of the days before `now`, in nanoseconds since the epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(13)
    for day in range(days, -1, -1):
        for program in PROGRAMS:
            busy = _RUNS_A_DAY[program] * chance.uniform(0.6, 1.5) * (1 + (days - day) / days)
            for _ in range(max(1, round(busy))):
                first, last = _HOURS[program]
                hour = chance.uniform(first, last) * 3600 * SECOND
                at = now - now % DAY - day * DAY + int(hour)
                if at < now - 600 * SECOND:
                    write_run(folder, program, at, chance, growth=(days - day) / days)
    write_run(folder, "research_agent.py", now - 4 * 3600 * SECOND, chance, killed=True)
    write_run(folder, "research_agent.py", now - 45 * SECOND, chance, running=True)


def write_run(
    folder: Path, program: str, at: int, chance: random.Random, *, growth: float = 0.5, killed: bool = False,
    running: bool = False,
) -> str:  # fmt: skip
    """Write one run's journal; returns the run's id. A killed and a running one have calls in flight."""
    run = _Run(
        f"{chance.getrandbits(64):016x}", program, at, chance, growth, stops_after=5 if killed or running else None
    )
    run.write(folder, os.getpid() if running else GONE)
    return run.run_id


class _Stopped(Exception):  # noqa: N818 -- no error
    pass


@dataclass
class _Run:
    run_id: str
    program: str
    now: int
    chance: random.Random
    growth: float
    stops_after: int | None
    lines: list[str] = field(default_factory=list)

    def write(self, folder: Path, process_id: int) -> None:
        header = JournalHeader(
            version=1, run_id=self.run_id, run_name=self.program, process_id=process_id, parent_process_id=1,
            program=self.program, started_at=self.now, package_version="0.1.0", python_version="3.13.1",
        )  # fmt: skip
        self.lines.append(header_line(header))
        began, ended = self.now, False
        try:
            if self.chance.random() < 0.2:
                self._call(None, MINI, (400, 60), 0.0, failed=False)
            for each in PROGRAMS[self.program]:
                self._step(each, None)
            ended = True
        except _Stopped:
            pass
        RunFile(
            run_id=self.run_id, name=self.program, program=self.program, started_at=began, process_id=process_id,
            ended_at=self.now if ended else None, exit_code=0 if ended else None, limits={"max_usd": 0.5},
        ).write(folder)  # fmt: skip
        (folder / f"{self.run_id}-{process_id}-00.jsonl").write_text("\n".join(self.lines) + "\n", encoding="utf-8")

    def _step(self, step: Step, above: StartedStep | None) -> tuple[int, Mapping[str, Any]]:
        started = StartedStep(
            step_id=self._id(), run_id=self.run_id, parent_id=above and above.step_id, name=step.name,
            function=step.name, path=f"{above.path}/{step.name}" if above else step.name, start_time=self.now,
            agent=step.agent, labels=self._labels(), max_usd=step.max_usd, error_boundary=step.boundary,
            trace_id=f"{self.chance.getrandbits(128):032x}",
        )  # fmt: skip
        self.lines.append(step_started_line(started))
        self.now += self.chance.randrange(SECOND // 2)
        own = [self._call(started, step.model, step.tokens, step.cached, failed=False)
               for _ in range(self.chance.randint(*step.calls))]  # fmt: skip
        if self.chance.random() < 0.04:
            self._call(started, step.model, step.tokens, step.cached, failed=True)
        below = sum(self._step(each, started)[0] for each in step.inside)
        spent = sum(each.cost_picousd or 0 for each in own)
        over = step.max_usd is not None and (spent + below) > step.max_usd * 10**12
        crashed = self.chance.random() < 0.02
        status = (
            {"skip": "skipped", "fail": "failed", "continue": "completed"}[step.boundary or "fail"]
            if over
            else "completed"
        )
        error = (
            f"StepBudgetExceeded: step '{step.name}' has spent ${(spent + below) / 10**12:.4f} of ${step.max_usd}"
            if over
            else None
        )
        if crashed and not over:
            status, error = "failed", "TimeoutError: the search did not answer within 30 s"
        self.lines.append(step_ended_line(CompletedStep(
            name=step.name, function=step.name, model=None, status=status, error=error,  # type: ignore[arg-type]
            input_tokens=sum(each.input_tokens or 0 for each in own),
            output_tokens=sum(each.output_tokens or 0 for each in own), cost_usd=spent / 10**12, llm_calls=len(own),
            total_cost_usd=(spent + below) / 10**12, max_usd=step.max_usd, error_boundary=step.boundary,
            start_time=started.start_time, end_time=self.now, path=started.path, run_id=self.run_id,
            step_id=started.step_id, parent_id=started.parent_id, agent=step.agent, labels=started.labels,
            breach="max_usd" if over else None, trace_id=started.trace_id,
        )))  # fmt: skip
        return spent + below, {}

    def _call(
        self, step: StartedStep | None, model: Model, tokens: tuple[int, int], cached: float, *, failed: bool
    ) -> CallRow:
        sizes = (round(each * self.chance.lognormvariate(0, 0.4) * (0.8 + 0.5 * self.growth)) for each in tokens)
        input_tokens, output_tokens = max(1, next(sizes)), max(1, next(sizes))
        known: dict[str, Any] = {
            "call_id": self._id(), "run_id": self.run_id, "step_id": step and step.step_id,
            "parent_id": step and step.parent_id, "step": step.name if step else NO_STEP,
            "path": step.path if step else "", "agent": step and step.agent, "labels": self._labels(),
            "sent_at": self.now, "provider": model.provider, "operation": "chat", "requested_model": model.name,
        }  # fmt: skip
        self.lines.append(call_sent_line(CallRow(**known)))
        if self.stops_after is not None:
            self.stops_after -= 1
            if self.stops_after < 0:
                raise _Stopped
        duration = round((0.4 + output_tokens / model.tokens_a_second) * SECOND * self.chance.lognormvariate(0, 0.25))
        self.now += duration
        known |= {"duration_ns": duration, "model": model.name}
        if failed:
            row = CallRow(**known, outcome="failed")
        else:
            row = self._answered(known, model, input_tokens, output_tokens, cached)
        self.lines.append(call_settled_line(row))
        return row

    def _answered(
        self, known: dict[str, Any], model: Model, input_tokens: int, output_tokens: int, cached: float
    ) -> CallRow:
        cache_read = round(input_tokens * cached) if self.chance.random() < 0.8 else 0
        if self.chance.random() < 0.015 and model.rates is not None:  # broken off: what came is estimated
            guess = input_tokens * model.rates[0] + output_tokens * model.rates[2]
            return CallRow(
                **known, outcome="cut", certainty="estimated", price_book="genai-prices 0.2.3",
                estimated_tokens=input_tokens + output_tokens, estimated_cost_picousd=guess,
            )  # fmt: skip
        cost = None
        if model.rates is not None:
            fresh, again, out = model.rates
            cost = (input_tokens - cache_read) * fresh + cache_read * again + output_tokens * out
        return CallRow(
            **known, outcome="answered", certainty="measured", cost_picousd=cost,
            input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cache_read,
            reasoning_tokens=output_tokens // 3 if model is GPT else 0,
            price_book=None if cost is None else "genai-prices 0.2.3",
        )  # fmt: skip

    def _labels(self) -> Mapping[str, str]:
        return {"revision": "4f1c2d9" if self.growth > 0.6 else "b07a3e1"}

    def _id(self) -> str:
        return f"{self.chance.getrandbits(64):016x}"


def calls_of(folder: Path) -> Iterator[CallRow]:
    """The calls that were settled, as the journals have them."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            if values["event"] == "call_settled":
                yield CallRow.from_dict(values)
