#!/usr/bin/env python
"""How what a step and a call cost grows: with nesting, tasks, chunks, sizes and names. Prints a Markdown table.

CPU time (`process_time`) is the least of the rounds, over bare: the same without our instrumentation, in a process of its
own. Memory is by tracemalloc. No network: openai runs on `httpx.MockTransport`, or answers with canned objects.
"""
import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc

os.environ.setdefault("OPENAI_API_KEY", "bench")
import fakes
import openai
from fakes import httpx
from telemetry import Telemetry

PART = 100 if "--quick" in sys.argv else 1           # of everything that is measured by its number
NESTED = (1, 10, 50)
TASKS = CHUNKS = tuple(number // PART for number in (100, 1_000, 10_000))
STEPS, NAMES = 10_000 // PART, 20_000 // PART
BODY_MB = 5
BUDGET = {"max_tokens": 10**12, "max_usd": 1e9}


def least(rounds, work, units=1):
    """Microseconds of CPU time a unit."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best / units * 1e6


def held_by(work):
    """(bytes held after `work`, bytes at its peak), over what there was before."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    peak = tracemalloc.get_traced_memory()[1]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before, peak - before


def answer_canned(cls):
    """Let an asynchronous client that carries `_canned` answer with that: below what `instrument` patches."""
    original = cls.request

    async def request(self, *args, **kwargs):
        canned = self.__dict__.get("_canned")
        if canned is None:
            return await original(self, *args, **kwargs)
        await asyncio.sleep(0)
        return canned(self, *args, **kwargs)

    cls.request = request


answer_canned(openai._base_client.AsyncAPIClient)


class NoStep:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


def big_body(provider):
    text = "all work and no play " * (BODY_MB * 2**20 // 21)
    if provider == "openai":
        body = fakes._completion()
        body["choices"][0]["message"]["content"] = text
    else:
        body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
                "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 11, "output_tokens": 7}}
    return json.dumps(body).encode()


def measure(is_ours, rounds):
    """All measures in this process, by name."""
    telemetry = Telemetry(False)
    if is_ours:
        from otel_harn_steps import instrument, step

        telemetry.provider()
        instrument()
    else:
        def step(name, **_):
            return NoStep()
    _, _, _, canned, *_ = fakes.clients(lambda client: client)
    answer, found = canned._canned, {}

    def call():
        canned.chat.completions.create(**fakes.request("x"))

    def nested(depth, calls):
        with step("s", **({"budget": BUDGET} if depth == 1 else {})):
            if depth > 1:
                nested(depth - 1, calls)
            else:
                for _ in range(calls):
                    call()

    nested(1, 50)
    for depth in NESTED:  # the steps themselves are measured too, and taken off
        found[f"nested {depth}"] = least(rounds, lambda: nested(depth, 60), 50) - least(rounds, lambda: nested(depth, 10), 50)

    achat = openai.AsyncOpenAI(**fakes._KEY)
    achat._canned = answer

    async def task():
        async with step("task"):
            await asyncio.sleep(0)
            await achat.chat.completions.create(**fakes.request("x"))

    async def gather(count):
        await asyncio.gather(*[task() for _ in range(count)])

    for count in TASKS:
        found[f"tasks {count}"] = least(rounds, lambda: asyncio.run(gather(count)), count)

    def stream(chunks):  # of objects that were made before: what is measured is what reads them
        canned._canned = chunks
        with step("s", **({"budget": BUDGET})):
            for _ in canned.chat.completions.create(stream=True, stream_options={"include_usage": True}, **fakes.request("x")):
                pass

    short = fakes._canned_stream(1)
    stream(short)
    for count in CHUNKS:
        chunks = fakes._canned_stream(count)
        found[f"chunks {count}"] = least(rounds, lambda: stream(chunks), count) - least(rounds, lambda: stream(short), count)
    canned._canned = answer
    for name, make in BIG.items():
        ask = make()

        def read():
            with step("s", **({"budget": BUDGET})):
                ask()
        read()
        found[f"answer {name} ms"] = least(rounds, read) / 1e3
        found[f"answer {name} MB"] = held_by(read)[1] / 2**20

    if is_ours:
        from otel_harn_steps import drain_completed_steps

        def steps(count, name, with_call):
            for i in range(count):
                with step(name.format(i)):
                    if with_call:
                        call()
                if i % 1_000 == 0:  # else the log of completed steps fills, to its bound
                    drain_completed_steps()
            drain_completed_steps()

        steps(STEPS // 5, "s", True)
        found["kept per step"] = held_by(lambda: steps(STEPS, "s", True))[0] / STEPS
        for part in range(1, 6):
            found[f"kept per name {part}"] = held_by(lambda: steps(NAMES, f"name {part} {{}}", False))[0] / NAMES
        found["kept per name with a call"] = held_by(lambda: steps(STEPS, "called {}", True))[0] / STEPS
    return found


def of_openai(ask):
    def make():
        body = big_body("openai")
        client = openai.OpenAI(**fakes._KEY, http_client=httpx.Client(transport=httpx.MockTransport(
            lambda _: httpx.Response(200, headers=fakes._JSON, content=body))))
        return lambda: ask(client.chat.completions)
    return make


def of_anthropic():
    import anthropic

    try:
        import httpx2 as library
    except ImportError:
        library = httpx
    body = big_body("anthropic")
    client = anthropic.Anthropic(api_key="bench", http_client=library.Client(transport=library.MockTransport(
        lambda _: library.Response(200, headers=fakes._JSON, content=body))))
    message = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    return lambda: client.messages.create(**message)


def streaming(chat):
    with chat.with_streaming_response.create(**fakes.request("x")) as response:
        response.read()


BIG = {
    "openai": of_openai(lambda chat: chat.create(**fakes.request("x"))),
    "openai raw": of_openai(lambda chat: chat.with_raw_response.create(**fakes.request("x"))),
    "openai streaming response": of_openai(streaming),
    "anthropic": of_anthropic,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a hundredth of it, to see that it runs")
    parser.add_argument("--only", choices=("bare", "ours"), help="measure one in this process, and print JSON")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only == "ours", args.rounds)))
        return
    command = [sys.executable, __file__, "--rounds", str(args.rounds), *(["--quick"] if args.quick else [])]
    bare, ours = (json.loads(subprocess.run([*command, "--only", name], check=True, stdout=subprocess.PIPE, text=True).stdout)
                  for name in ("bare", "ours"))
    over = {name: value - bare.get(name, 0) for name, value in ours.items()}
    print("| what grows | over bare |\n|---|---|")

    def row(what, unit, *names, digits=0):
        print(f"| {what} | {', '.join(f'{over[name]:,.{digits}f}' for name in names)} {unit} |")

    row("a call in 1, 10, 50 nested steps", "us", *(f"nested {each}" for each in NESTED))
    row("a step with a call in each of 100, 1,000, 10,000 tasks", "us", *(f"tasks {each}" for each in TASKS))
    row("a chunk of a stream of 100, 1,000, 10,000", "us", *(f"chunks {each}" for each in CHUNKS), digits=2)
    for name in BIG:
        row(f"an answer of {BODY_MB} MB, {name}: time", "ms", f"answer {name} ms", digits=1)
        row(f"an answer of {BODY_MB} MB, {name}: memory at the peak", "MB", f"answer {name} MB", digits=1)
    row("kept of a finished step with a call", "bytes", "kept per step", digits=1)
    parts = (f"kept per name {each}" for each in range(1, 6))
    row("kept per dynamic name of a step, five times 20,000", "bytes", *parts, digits=1)
    row("kept per dynamic name of a step with a call, 10,000", "bytes", "kept per name with a call", digits=1)


if __name__ == "__main__":
    main()
