"""Runs an app with faults of every kind for a while, and holds what was counted against what was handed out.

    python -m tests.soak --seconds 120     threads, tasks, processes; a provider, an exporter and a disk that fail
    python -m tests.soak --calls 200000    one thread, as many calls as it is told: memory stays flat

Exits with 1 and says what is wrong: an exception that is not the app's, totals that do not add up, memory, descriptors
or threads that grow. Everything is in-process: the provider is a transport of the real `openai` client.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import tempfile
from collections import Counter

import openai
from openai._base_client import SyncAPIClient
from openai.types.chat import ChatCompletion
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otel_harn_steps as harn
from otel_harn_steps import step
from tests.soak.process import JOIN_S, in_a_process
from tests.soak.provider import MODEL, OF_AN_ANSWER, PRICES
from tests.soak.surroundings import grown, measure

MOST_GROWN_OF_CALLS_MIB = 2.0


def soak(seconds: float, processes: int, threads: int, seed: int) -> int:
    """All processes. Returns the exit code."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        results = context.SimpleQueue()
        workers = [
            context.Process(target=in_a_process, args=(seconds, seed + number, threads, folder, results))
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


def many_calls(calls: int) -> int:
    """So many calls in one thread, half of them in steps of names that nobody has had. Returns the exit code."""
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    answer = ChatCompletion.model_validate({**OF_AN_ANSWER, "object": "chat.completion", "choices": [], "usage": usage})
    # Below our patch, in place of httpx, which takes a millisecond a call.
    SyncAPIClient.request = lambda *_, **__: answer  # type: ignore[method-assign]
    harn.instrument(prices=PRICES, meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    logging.getLogger("otel_harn_steps").setLevel(logging.CRITICAL)
    client = openai.OpenAI(api_key="none")
    spent = 0
    before: dict[str, float] | None = None
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
    problems = grown(before or after, after, most_mib=MOST_GROWN_OF_CALLS_MIB)
    if spent != calls * usage["prompt_tokens"]:
        problems.append(f"{spent} input tokens counted, {calls * usage['prompt_tokens']} handed out")
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
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    return soak(asked.seconds, asked.processes, asked.threads, seed)


if __name__ == "__main__":
    sys.exit(main())
