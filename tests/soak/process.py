"""One process of the soak: threads, an event loop, and somebody who breaks things."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import otel_harn_steps as harn
from otel_harn_steps import CompletedStep, Journal, JsonLinesSink
from otel_harn_steps.store import JournalReader
from otel_harn_steps.testing import raise_own_faults
from tests.soak.app import OF_THE_APP, App
from tests.soak.provider import PRICES, HandedOut
from tests.soak.surroundings import FaultyExporter, Ledger, break_the_disk, grown, measure

JOIN_S = 60.0


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
        choose = random.Random(self._seed)
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
            await app.async_client.close()

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
        if reader.damaged_lines:
            self.problems[f"damaged lines in the journal: {reader.damaged[:3]}"] += reader.damaged_lines


def _dawdle(record: CompletedStep) -> None:
    time.sleep(0.0002 if record.name else 0)


def _raise(record: CompletedStep) -> None:
    raise LookupError(record.name)


def in_a_process(seconds: float, seed: int, threads: int, folder: str, results: Any) -> None:
    soak = Soak(seconds, seed, threads, Path(folder))
    try:
        results.put((soak.run(), dict(soak.done)))
    except BaseException:
        results.put(([traceback.format_exc()], dict(soak.done)))
        raise
