#!/usr/bin/env python3
"""What the engine costs per call, by client library: a recorded answer, with the transport faked in this process.

    ./providers.py                        instructions by valgrind, the same on a busy machine
    ./providers.py --time                 CPU time, of a calm one
    ./providers.py --only openai,ollama --calls 40

Each client has a process of its own, in which the same call is made without us, and then patched and in a step with a
budget. The difference is ours; the unit is a bare OpenTelemetry span with one attribute, in the same process.
"""
import argparse
import json
import os
import statistics as st
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TRAFFIC = HERE.parent / "tests" / "cases" / "traffic"
URL = "http://bench.invalid"
HELLO = [{"role": "user", "content": "Say hello in one short line."}]
CHAT = "openai.chat-completions.sync_chat_completions_version_latest"
BUDGET = {"max_tokens": 10**12, "max_usd": 1e9}
KEY = {"api_key": "bench"}


def openai_chat():
    from openai import OpenAI
    client = OpenAI(base_url=URL, max_retries=0, **KEY)
    return lambda: client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)


def openai_responses():
    from openai import OpenAI
    client = OpenAI(base_url=URL, max_retries=0, **KEY)
    return lambda: client.responses.create(model="gpt-4.1-nano", input="hello")


def anthropic():
    from anthropic import Anthropic
    client = Anthropic(base_url=URL, max_retries=0, **KEY)
    return lambda: client.messages.create(model="claude-sonnet-4-5", max_tokens=64, messages=HELLO)


def google_genai():
    from google import genai
    client = genai.Client(http_options={"base_url": URL}, **KEY)
    return lambda: client.models.generate_content(model="gemini-2.5-flash", contents="hello")


def mistralai():
    try:
        from mistralai.client import Mistral
    except ImportError:
        from mistralai import Mistral
    client = Mistral(server_url=URL, **KEY)
    return lambda: client.chat.complete(model="mistral-tiny", messages=HELLO)


def cohere():
    from cohere import ClientV2
    client = ClientV2(base_url=URL, **KEY)
    return lambda: client.chat(model="command-r-08-2024", messages=HELLO)


def groq():
    from groq import Groq
    client = Groq(base_url=URL, max_retries=0, **KEY)
    return lambda: client.chat.completions.create(model="llama3-8b-8192", messages=HELLO)


def together():
    from together import Together
    client = Together(base_url=URL, max_retries=0, **KEY)
    return lambda: client.chat.completions.create(model="meta-llama/Llama-3.3-70B-Instruct-Turbo", messages=HELLO)


def bedrock():
    import boto3
    client = boto3.client("bedrock-runtime", "us-east-1", endpoint_url=URL,
                          aws_access_key_id="bench", aws_secret_access_key="bench")
    said = [{"role": "user", "content": [{"text": "hello"}]}]
    return lambda: client.converse(modelId="meta.llama3-2-1b-instruct-v1:0", messages=said)


def ollama():
    from ollama import Client
    client = Client(URL)
    return lambda: client.chat(model="llama3", messages=HELLO)


def huggingface_hub():
    from huggingface_hub import InferenceClient
    client = InferenceClient(base_url=URL + "/v1", token="bench")
    return lambda: client.chat_completion(HELLO, model="meta-llama/llama-3.1-8b-instruct")


# what makes the call, and the recorded answer to it
CLIENTS = {
    "openai chat": (openai_chat, CHAT),
    "openai responses": (openai_responses, "azure_openai.responses.azure_responses_reasoning_context_default_w"),
    "anthropic": (anthropic, "anthropic.messages.anthropic_prompt_caching_async_legacy"),
    "google-genai": (google_genai, "google_genai.generateContent.generate_metrics"),
    "mistralai": (mistralai, "mistral.chat-completions.mistralai_chat_with_events_with_content"),
    "cohere": (cohere, "cohere.v2-chat.tool_choice_matrix_required-cohere_"),
    "groq": (groq, "groq.chat-completions.chat_legacy"),
    "together": (together, "together.chat-completions.together_chat_legacy"),
    "bedrock": (bedrock, "bedrock.converse.meta_converse"),
    "ollama": (ollama, "ollama.chat.ollama_async_chat_legacy"),
    "huggingface_hub": (huggingface_hub, CHAT),
}


def answer_always(case):
    """Let every HTTP transport of this process answer with the recorded body."""
    headers = {"content-type": "application/json", "content-length": str(len(case.body))}
    for name in ("httpx", "httpx2"):
        if name in sys.modules:
            module = sys.modules[name]
            module.HTTPTransport.handle_request = (
                lambda self, request, module=module: module.Response(200, headers=headers, content=case.body))
    if "botocore" in sys.modules:
        import io

        from botocore.awsrequest import AWSResponse
        from botocore.httpsession import URLLib3Session

        class Raw(io.BytesIO):
            def stream(self, **_):
                yield self.read()
        URLLib3Session.send = lambda self, request: AWSResponse(request.url, 200, headers, Raw(case.body))


def measure(name, calls, rounds):
    """Per call: alone, with us, and what a span costs; instructions in thousands under valgrind, else CPU microseconds."""
    from otel_harn_steps import drain_completed_steps, instrument, step
    from otel_harn_steps.testing import load_case
    from telemetry import Telemetry
    make, recorded = CLIENTS[name]
    call = make()
    answer_always(load_case(TRAFFIC / f"{recorded}.json"))
    tracer = Telemetry().provider().get_tracer("bench")

    def alone():
        for _ in range(calls):
            call()

    def spans():
        for _ in range(calls):
            with tracer.start_as_current_span("bench", attributes={"bench.name": "bench"}):
                pass

    def ours():
        with step("bench", budget=BUDGET):
            alone()

    def step_alone():
        with step("bench", budget=BUDGET):
            pass

    cost = {each.__name__: cost_of(each, rounds) / calls for each in (alone, spans)}
    instrument()
    cost |= {each.__name__: cost_of(each, rounds) / calls for each in (step_alone, ours)}
    records = drain_completed_steps()
    spent = records[-1]
    assert spent.llm_calls == calls and spent.output_tokens, f"{name} was not billed: {spent}"
    cost["ours"] -= cost.pop("step_alone")
    return cost


def cost_of(run, rounds):
    from counters import CALLGRIND, INSTRUCTIONS
    run()                                      # warm-up: lazy imports, the price of the model
    if CALLGRIND:
        before = INSTRUCTIONS()
        run()
        return (INSTRUCTIONS() - before) / 1e3
    costs = []
    for _ in range(rounds):
        before = time.process_time_ns()
        run()
        costs.append((time.process_time_ns() - before) / 1e3)
    return min(costs)


def in_fresh(name, args):
    with tempfile.TemporaryDirectory() as folder:
        out_file = os.path.join(folder, "callgrind")
        valgrind = [] if args.time else ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out_file}",
                                         "--dump-before=getppid"]
        env = {"PATH": "/usr/bin:/bin", "HOME": folder, "PYTHONPATH": str(HERE), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8",
               **({} if args.time else {"BENCH_CALLGRIND": out_file})}
        command = [str(HERE / "providers.py"), "--worker", name, "--calls", str(args.calls), "--rounds", str(args.rounds)]
        ran = subprocess.run([*valgrind, args.python, *command], env=env, capture_output=True, text=True, cwd=folder)
    if ran.returncode:
        return {"error": (ran.stderr.strip().splitlines() or ["died"])[-1]}
    return json.loads(ran.stdout.strip().splitlines()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(CLIENTS))
    p.add_argument("--time", action="store_true", help="CPU time instead of instructions")
    p.add_argument("--calls", type=int, default=20)
    p.add_argument("--rounds", type=int, default=30, help="of which the least counts, with --time")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once, without --time")
    p.add_argument("--venvs", default=os.environ.get("BENCHVENVS", os.path.expanduser("~/.cache/harn-bench")))
    p.add_argument("--python", help="an interpreter that has the clients; default: that of the venv `clients`")
    p.add_argument("--worker", help=argparse.SUPPRESS)
    args = p.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker, args.calls, args.rounds)))
        return 0
    args.python = args.python or str(Path(args.venvs) / "clients" / "bin" / "python")
    names = args.only.split(",")
    with ThreadPoolExecutor(1 if args.time else args.jobs) as pool:
        found = dict(zip(names, pool.map(lambda name: in_fresh(name, args), names)))
    unit = "CPU microseconds" if args.time else "thousand instructions, by callgrind"
    print(f"\nper call, {unit}\n| client | the call alone | ours on top | of a bare span |\n|---|---|---|---|")
    ratios = []
    for name, cost in found.items():
        if "error" in cost:
            print(f"| {name} | {cost['error']} | | |")
            continue
        more = cost["ours"] - cost["alone"]
        ratios.append(more / cost["spans"])
        print(f"| {name} | {cost['alone']:.0f} | {more:.0f} | {ratios[-1]:.2f} |")
    if ratios:
        print(f"median of the ratios: {st.median(ratios):.2f}")
    return int(len(ratios) < len(found))


if __name__ == "__main__":
    sys.exit(main())
