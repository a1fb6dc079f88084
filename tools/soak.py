"""Runs an app with faults of every kind for a while, and holds what was counted against what was handed out.

    python tools/soak.py --seconds 120     threads, tasks, processes; a provider, an exporter and a disk that fail
    python tools/soak.py --calls 200000    one thread, as many calls as it is told: memory stays flat

Exits with 1 and says what is wrong: an exception that is not the app's, totals that do not add up, memory, descriptors
or threads that grow. Everything is in-process: the provider is a transport of the real `openai` client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import otel_harn_steps as harn
from otel_harn_steps import CallRow, CompletedStep, Journal, JsonLinesSink, StepBudgetExceeded, StepEscalated, step
from otel_harn_steps.store import DamagedLine, JournalReader
from otel_harn_steps.testing import raise_own_faults

MODEL = "soak-model"
PRICES = {MODEL: {"input_mtok": 1, "output_mtok": 2}}
OF_THE_APP = (
    StepBudgetExceeded,
    StepEscalated,
    openai.OpenAIError,
    httpx.HTTPError,
    json.JSONDecodeError,
    TimeoutError,
)
"""What may be raised: budgets, and what the client makes of faults."""
MOST_GROWN_MIB = 12.0
MOST_GROWN_DESCRIPTORS = 4
JOIN_S = 60.0


# -- the provider ------------------------------------------------------------------------------------------------------


class HandedOut:
    """What the provider has charged for, as it knows itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts = Counter[str]()

    def usage(self, choose: random.Random) -> dict[str, int]:
        """The usage of an answer that is about to be read, which is counted."""
        usage = {"prompt_tokens": choose.randint(1, 50), "completion_tokens": choose.randint(1, 50)}
        self.add(usage["prompt_tokens"], usage["completion_tokens"])
        return usage | {"total_tokens": sum(usage.values())}

    def add(self, input_tokens: int, output_tokens: int) -> None:
        """Count a call."""
        with self._lock:
            self.counts.update(calls=1, input_tokens=input_tokens, output_tokens=output_tokens)


class Provider(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers, fails, cuts, dawdles, at random."""

    def __init__(self, handed_out: HandedOut, seed: int, faults: float = 0.3) -> None:
        self._handed_out = handed_out
        self._choose = random.Random(seed)  # noqa: S311 -- no secret
        self._faults = faults

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a synchronous client."""
        fault = self._fault()
        if fault == "slow":
            time.sleep(0.002)
        return self._answer(request, fault)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer an asynchronous client."""
        fault = self._fault()
        if fault == "slow":
            await asyncio.sleep(0.005)
        return self._answer(request, fault)

    def _fault(self) -> str | None:
        choose = self._choose
        if choose.random() >= self._faults:
            return None
        return choose.choice(("slow", "error", "rejected", "refused", "malformed", "odd usage", "cut"))

    def _answer(self, request: httpx.Request, fault: str | None) -> httpx.Response:
        asked = json.loads(request.content)
        if fault == "refused":
            raise httpx.ConnectError("nobody is there", request=request)
        if fault in ("error", "rejected"):
            status = 500 if fault == "error" else 429
            return httpx.Response(status, json={"error": {"message": fault}}, headers={"retry-after-ms": "1"})
        if asked.get("stream"):
            with_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            events = self._events(fault, with_usage=with_usage)
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Stream(events, request))
        if fault == "malformed":
            return httpx.Response(200, headers={"content-type": "application/json"}, content=b'{"id": "x", "choi')
        if fault == "cut":
            return httpx.Response(200, stream=_Stream(iter([b'{"id"', None]), request))
        usage: Any = {"prompt_tokens": "many"} if fault == "odd usage" else self._handed_out.usage(self._choose)
        return httpx.Response(200, json={**_OF_AN_ANSWER, "object": "chat.completion", "choices": [], "usage": usage})

    def _events(self, fault: str | None, *, with_usage: bool) -> Iterator[bytes | None]:
        for _ in range(self._choose.randint(1, 6)):
            delta = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
            yield _event({**_OF_A_CHUNK, "choices": [delta]})
        if fault == "cut":
            yield None
        if fault == "malformed":
            yield b"data: {broken\n\n"
        if with_usage:
            yield _event({**_OF_A_CHUNK, "choices": [], "usage": self._handed_out.usage(self._choose)})
        yield b"data: [DONE]\n\n"


_OF_AN_ANSWER = {"id": "x", "created": 0, "model": MODEL}
_OF_A_CHUNK = {**_OF_AN_ANSWER, "object": "chat.completion.chunk"}


def _event(values: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(values)}\n\n".encode()


class _Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces. None: the connection breaks."""

    def __init__(self, pieces: Iterator[bytes | None], request: httpx.Request) -> None:
        self._pieces = pieces
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if piece is None:
                raise httpx.ReadError("the connection broke", request=self._request)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            await asyncio.sleep(0)
            yield piece


# -- where things go, and fail -----------------------------------------------------------------------------------------


class Ledger:
    """Adds up rows and records."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows = Counter[str]()
        self.records = Counter[str]()

    def call_settled(self, row: CallRow) -> None:
        """Add a call."""
        with self._lock:
            self.rows.update(input_tokens=row.input_tokens or 0, output_tokens=row.output_tokens or 0)
            self.rows.update(cost_picousd=row.cost_picousd or 0)

    def step_ended(self, record: CompletedStep) -> None:
        """Add a step, or an amendment."""
        with self._lock:
            self.records.update(input_tokens=record.input_tokens, output_tokens=record.output_tokens)


class FaultyExporter(SpanExporter):
    """Fails, dawdles, raises."""

    def __init__(self, seed: int) -> None:
        self._choose = random.Random(seed)  # noqa: S311 -- as above

    def export(self, spans: Any) -> SpanExportResult:
        """Take what it likes."""
        assert all(isinstance(each, ReadableSpan) for each in spans)
        chance = self._choose.random()
        if chance < 0.2:
            raise ConnectionError("no collector")
        time.sleep(0.01 if chance < 0.4 else 0)
        return SpanExportResult.FAILURE if chance < 0.6 else SpanExportResult.SUCCESS


def break_the_disk(folder: Path, choose: random.Random) -> None:
    """Take the journal's folder away, or put a file in its place, for a moment."""
    aside = folder.with_name("aside")
    with contextlib.suppress(OSError):
        if choose.random() < 0.5:
            folder.rename(aside)
            folder.touch()
            time.sleep(0.05)
            folder.unlink()
            aside.rename(folder)
        else:
            shutil.rmtree(folder)


# -- the app -----------------------------------------------------------------------------------------------------------


class App:
    """Does what apps do with steps, at random."""

    def __init__(self, handed_out: HandedOut, seed: int) -> None:
        self._choose = random.Random(seed)  # noqa: S311 -- as above
        self._handed_out = handed_out
        transport = Provider(handed_out, seed)
        given: dict[str, Any] = {"api_key": "none", "base_url": "http://provider.invalid/v1"}
        retries = seed % 2
        self._client = openai.OpenAI(**given, max_retries=retries, http_client=httpx.Client(transport=transport))
        self._async_client = openai.AsyncOpenAI(
            **given, max_retries=retries, http_client=httpx.AsyncClient(transport=transport)
        )
        self._left_open = deque[Any](maxlen=8)

    def options(self) -> dict[str, Any]:
        """Of a step: with a budget or none, with every boundary."""
        choose = self._choose
        options: dict[str, Any] = {"error_boundary": choose.choice((None, "continue", "escalate"))}
        if choose.random() < 0.5:
            options["max_tokens"] = choose.randint(20, 300)
        if choose.random() < 0.3:
            options["max_usd"] = choose.randint(20, 300) / 1e6
        if choose.random() < 0.3:
            options["scope"] = "tree"
        return {**options, "detail": str(choose.random())}

    def name(self) -> str:
        """Of a step: one of few, or one that nobody has had."""
        choose = self._choose
        return f"ticket {choose.random()}" if choose.random() < 0.2 else choose.choice(("plan", "search", "write"))

    def chat(self, **options: Any) -> Any:
        """A call."""
        return self._client.chat.completions.create(model=MODEL, messages=[], **options)

    def work(self) -> None:
        """One thing that an app does."""
        choose = self._choose
        kind = choose.choice(("calls", "calls", "stream", "left", "late", "nested", "generator", "by hand", "outside"))
        if kind == "outside":
            self.chat()
        elif kind == "late":
            with step(self.name(), **self.options()):
                stream = self.chat(stream=True)
            for _ in stream:
                pass
        elif kind == "nested":
            with step(self.name(), **self.options()), step(self.name(), **self.options()):
                self.chat()
                self.chat()
        elif kind == "generator":
            for _ in step(self.name(), **self.options())(self._generate)():
                self.chat()
                if choose.random() < 0.3:
                    break
        else:
            with step(self.name(), **self.options()):
                self._in_step(kind)

    def _in_step(self, kind: str) -> None:
        choose = self._choose
        if kind == "by hand":
            counts = choose.randint(1, 50), choose.randint(1, 50)
            self._handed_out.add(*counts)
            harn.record_llm_usage(MODEL, *counts)
            return
        for _ in range(choose.randint(1, 4)):
            if kind == "calls":
                self.chat()
                continue
            stream = self.chat(stream=True)
            if kind == "left":
                next(iter(stream), None)
                self._left_open.append(stream)
            else:
                for _ in stream:
                    pass

    def _generate(self) -> Iterator[None]:
        for _ in range(3):
            self.chat()
            yield

    async def work_async(self) -> None:
        """One thing that an asynchronous app does."""
        choose = self._choose
        create = self._async_client.chat.completions.create
        async with step(self.name(), **self.options()):
            for _ in range(choose.randint(1, 3)):
                if choose.random() < 0.3:
                    async with asyncio.timeout(0.004):
                        await create(model=MODEL, messages=[])
                elif choose.random() < 0.5:
                    stream: Any = await create(model=MODEL, messages=[], stream=True)
                    async for _ in stream:
                        if choose.random() < 0.1:
                            break
                    await stream.close()
                else:
                    await asyncio.gather(*(create(model=MODEL, messages=[]) for _ in range(2)), return_exceptions=True)

    def close(self) -> None:
        """Let go of what was left open."""
        self._left_open.clear()
        self._client.close()


# -- measuring ---------------------------------------------------------------------------------------------------------


def resident_mib() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure() -> dict[str, float]:
    """What must not grow."""
    gc.collect()
    harn.drain_completed_steps()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {"MiB": resident_mib(), "descriptors": descriptors, "threads": threading.active_count()}


def grown(before: dict[str, float], after: dict[str, float], *, most_mib: float = MOST_GROWN_MIB) -> list[str]:
    """What has grown too much."""
    most = {"MiB": most_mib, "descriptors": MOST_GROWN_DESCRIPTORS, "threads": 0}
    return [
        f"{name} grew from {before[name]:.1f} to {after[name]:.1f}"
        for name, allowed in most.items()
        if after[name] - before[name] > allowed
    ]


# -- one process of the soak -------------------------------------------------------------------------------------------


class Soak:
    """One process: threads, an event loop, and somebody who breaks things."""

    def __init__(self, seconds: float, seed: int, threads: int, folder: Path) -> None:
        self._ends_at_s = time.monotonic() + seconds
        self._warm_at_s = time.monotonic() + seconds / 3
        self._seed = seed
        self._threads = threads
        self._journal = folder / f"journal {seed}"
        self.problems = Counter[str]()
        self.done = Counter[str]()
        self._handed_out = HandedOut()
        self._ledger = Ledger()

    def run(self) -> list[str]:
        """What is wrong, as lines."""
        raise_own_faults(True)
        for name in ("opentelemetry", "otel_harn_steps"):  # faults are what this is about
            logging.getLogger(name).setLevel(logging.CRITICAL)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(FaultyExporter(self._seed), schedule_delay_millis=50))
        slow = harn.StepSpanProcessor(_dawdle, sink_queue=100)
        harn.instrument(
            prices=PRICES,
            tracer_provider=provider,
            meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
            metric_step_names=50,
            sinks=[self._ledger, Journal(self._journal, max_bytes=200_000), JsonLinesSink("/dev/full"), _raise],
        )
        with harn.run("soak") as run:
            workers = [threading.Thread(target=self._work, args=(number,)) for number in range(self._threads)]
            workers.append(threading.Thread(target=lambda: asyncio.run(self._work_async())))
            for each in workers:
                each.start()
            before, after = self._watch()
            for each in workers:
                each.join(JOIN_S)
                if each.is_alive():
                    self.problems["a thread hangs"] += 1
            gc.collect()
            self._add_up(run)
        slow.shutdown()
        harn.uninstrument()
        provider.shutdown()
        self._read_journal()
        return [*grown(before, after), *(f"{what} ({times} times)" for what, times in self.problems.items())]

    def _watch(self) -> tuple[dict[str, float], dict[str, float]]:
        """Break the disk meanwhile. Returns what was measured after the warm-up, and at the end."""
        choose = random.Random(self._seed)  # noqa: S311 -- as above
        before: dict[str, float] | None = None
        while time.monotonic() < self._ends_at_s - 0.2:
            time.sleep(0.2)
            harn.drain_completed_steps()
            if choose.random() < 0.2:
                break_the_disk(self._journal, choose)
            if before is None and time.monotonic() >= self._warm_at_s:
                before = measure()
        after = measure()
        return before or after, after

    def _work(self, number: int) -> None:
        app = App(self._handed_out, self._seed * 1000 + number)
        while time.monotonic() < self._ends_at_s:
            self._guarded(app.work)
        app.close()

    async def _work_async(self) -> None:
        async def work(number: int) -> None:
            app = App(self._handed_out, self._seed * 1000 + 500 + number)
            while time.monotonic() < self._ends_at_s:
                try:
                    await app.work_async()
                except OF_THE_APP:
                    pass
                except Exception:  # noqa: BLE001 -- this is what is looked for
                    self.problems[traceback.format_exc()] += 1
                self._note()
            await app._async_client.close()

        await asyncio.gather(*map(work, range(4)))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OF_THE_APP:
            pass
        except Exception:  # noqa: BLE001 -- as above
            self.problems[traceback.format_exc()] += 1
        self._note()

    def _note(self) -> None:
        self.done["units"] += 1
        if harn.current_step() is not None:
            self.problems["a step is left current"] += 1

    def _add_up(self, run: harn.Run) -> None:
        handed_out, rows, records = self._handed_out.counts, self._ledger.rows, self._ledger.records
        for name in ("input_tokens", "output_tokens"):
            of_run = getattr(run, name)
            if not handed_out[name] == rows[name] == records[name] + of_run == getattr(run, f"total_{name}"):
                self.problems[
                    f"{name}: {handed_out[name]} handed out, {rows[name]} in rows, {records[name]} in records and "
                    f"{of_run} in the run itself, {getattr(run, f'total_{name}')} in the run's total"
                ] += 1
        due = handed_out["input_tokens"] * 10**6 + handed_out["output_tokens"] * 2 * 10**6
        if rows["cost_picousd"] != due:
            self.problems[f"{rows['cost_picousd']} pico-dollars in rows, {due} due"] += 1
        self.done.update(handed_out)

    def _read_journal(self) -> None:
        if not self._journal.is_dir():
            return
        reader = JournalReader(self._journal)
        events = list(reader.poll())
        self.done["journal lines"] += len(events)
        damaged = [each for each in reader.damaged if isinstance(each, DamagedLine)]
        if damaged:
            self.problems[f"damaged lines in the journal: {damaged[:3]}"] += len(damaged)


def _dawdle(record: CompletedStep) -> None:
    time.sleep(0.0002 if record.name else 0)


def _raise(record: CompletedStep) -> None:
    raise LookupError(record.name)


def _in_a_process(seconds: float, seed: int, threads: int, folder: str, results: Any) -> None:
    soak = Soak(seconds, seed, threads, Path(folder))
    try:
        results.put((soak.run(), dict(soak.done)))
    except BaseException:
        results.put(([traceback.format_exc()], dict(soak.done)))
        raise


def soak(seconds: float, processes: int, threads: int, seed: int) -> int:
    """All processes. Returns the exit code."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        results = context.SimpleQueue()
        workers = [
            context.Process(target=_in_a_process, args=(seconds, seed + number, threads, folder, results))
            for number in range(processes)
        ]
        for each in workers:
            each.start()
        for each in workers:
            each.join(seconds + 2 * JOIN_S)
            if each.is_alive():
                each.kill()
                each.join()
        found = []
        while not results.empty():
            found.append(results.get())
    done = sum((Counter(counts) for _, counts in found), Counter[str]())
    problems = [each for lines, _ in found for each in lines]
    if len(found) != processes:
        problems.append(f"{processes - len(found)} processes of {processes} did not come to their end")
    print(f"seed {seed}: {', '.join(f'{count} {name}' for name, count in sorted(done.items()))}")
    return _tell(problems)


# -- many calls --------------------------------------------------------------------------------------------------------


def many_calls(calls: int) -> int:
    """So many calls in one thread, half of them in steps of names that nobody has had. Returns the exit code."""
    handed_out = HandedOut()
    transport = Provider(handed_out, 1, faults=0)
    client = openai.OpenAI(
        api_key="none", base_url="http://provider.invalid/v1", http_client=httpx.Client(transport=transport)
    )
    harn.instrument(
        prices=PRICES, meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False), unseen_calls=True
    )
    spent = 0
    before: dict[str, float] | None = None
    logging.getLogger("otel_harn_steps").setLevel(logging.CRITICAL)
    with step("around") as around:
        for number in range(calls // 2):
            if number == calls // 20:
                before = measure()
            client.chat.completions.create(model=MODEL, messages=[])
            with step(f"ticket {number}", max_tokens=1000, detail=str(number)) as ticket:
                client.chat.completions.create(model=MODEL, messages=[])
            spent += ticket.input_tokens
            if number % 1000 == 0:
                harn.drain_completed_steps()
        spent += around.input_tokens
    after = measure()
    harn.uninstrument()
    print(f"{calls} calls: {(before or after)['MiB']:.1f} MiB after a tenth of them, {after['MiB']:.1f} MiB after all")
    problems = grown(before or after, after, most_mib=4.0)
    if spent != handed_out.counts["input_tokens"]:
        problems.append(f"{spent} input tokens counted, {handed_out.counts['input_tokens']} handed out")
    return _tell(problems)


def _tell(problems: list[str]) -> int:
    for each in problems:
        print(each, file=sys.stderr)
    return int(bool(problems))


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8, help="in each process, next to its event loop")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--calls", type=int, default=None, help="only this: so many calls in one thread")
    asked = parser.parse_args()
    if asked.calls is not None:
        return many_calls(asked.calls)
    seed = random.randrange(10**6) if asked.seed is None else asked.seed  # noqa: S311 -- as above
    return soak(asked.seconds, asked.processes, asked.threads, seed)


if __name__ == "__main__":
    sys.exit(main())
