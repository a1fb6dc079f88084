"""What the clients send, as budgets look at it: the limit of the output, and the prompt, are found in real calls of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import ModuleType
from typing import Any

import pytest

from otel_harn_steps._calls.client import Call, ClientAdapter
from otel_harn_steps._calls.fingerprints import request_fingerprint
from otel_harn_steps._cost.estimate import output_cap, request_size
from otel_harn_steps.testing import ReplayServer
from otel_harn_steps.testing._modes import SYNC, Mode
from tests.replay.native import PACKAGES, cohere, google, huggingface, json_answer, mistral, ollama

PROMPT = "four " * 70  # 100 tokens
SAID: list[Any] = [{"role": "user", "content": PROMPT}]
Open = Callable[[Mode, str], AbstractContextManager[Any]]


def keyed(package: str, kind: str, **settings: Any) -> Open:
    @contextmanager
    def opened(_: Mode, url: str) -> Iterator[Any]:
        module = pytest.importorskip(package)
        with getattr(module, kind)(api_key="k", base_url=url, max_retries=0, **settings) as client:
            yield client

    return opened


@contextmanager
def bedrock(_: Mode, url: str) -> Iterator[Any]:
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    client = pytest.importorskip("boto3").client("bedrock-runtime", endpoint_url=url, **keys)
    yield client
    client.close()


@contextmanager
def lm15(_: Mode, url: str) -> Iterator[Any]:
    lm = pytest.importorskip("lm15").OpenAIChatLM(api_key="k", base_url=url)
    yield lm
    lm.close()


@contextmanager
def cohere_1(mode: Mode, url: str) -> Iterator[Any]:
    with cohere(mode, url, version=1) as client:
        yield client


def lm15_call(client: Any) -> Any:
    import lm15

    said = lm15.Message.user(PROMPT)
    return client.complete(lm15.Request(model="m", messages=(said,), config=lm15.Config(max_tokens=77)))


def google_call(client: Any) -> Any:
    from google.genai import types

    return client.models.generate_content(
        model="m", contents=PROMPT, config=types.GenerateContentConfig(max_output_tokens=77)
    )


openai = keyed("openai", "OpenAI")
SENT: dict[str, tuple[Open, Callable[[Any], Any]]] = {
    "openai chat": (openai, lambda c: c.chat.completions.create(model="m", messages=SAID, max_completion_tokens=77)),
    "openai responses": (openai, lambda c: c.responses.create(model="m", input=PROMPT, max_output_tokens=77)),
    "openai completions": (openai, lambda c: c.completions.create(model="m", prompt=PROMPT, max_tokens=77)),
    "openai extra_body": (
        openai,
        lambda c: c.chat.completions.create(model="m", messages=SAID, extra_body={"max_tokens": 77}),
    ),
    "anthropic": (
        keyed("anthropic", "Anthropic"),
        lambda c: c.messages.create(model="m", messages=SAID, max_tokens=77),
    ),
    "groq": (keyed("groq", "Groq"), lambda c: c.chat.completions.create(model="m", messages=SAID, max_tokens=77)),
    "together": (
        keyed("together", "Together"),
        lambda c: c.chat.completions.create(model="m", messages=SAID, max_tokens=77),
    ),
    "cerebras": (
        keyed("cerebras.cloud.sdk", "Cerebras", warm_tcp_connection=False),
        lambda c: c.chat.completions.create(model="m", messages=SAID, max_completion_tokens=77),
    ),
    "google_genai": (google, google_call),
    "google_genai dict": (
        google,
        lambda c: c.models.generate_content(model="m", contents=PROMPT, config={"max_output_tokens": 77}),
    ),
    "google_genai interactions": (
        google,
        lambda c: c.interactions.create(model="m", input=PROMPT, generation_config={"max_output_tokens": 77}),
    ),
    "mistral": (mistral, lambda c: c.chat.complete(model="m", messages=SAID, max_tokens=77)),
    "mistral conversations": (
        mistral,
        lambda c: c.beta.conversations.start(model="m", inputs=PROMPT, completion_args={"max_tokens": 77}),
    ),
    "cohere 1": (cohere_1, lambda c: c.chat(model="m", message=PROMPT, max_tokens=77)),
    "cohere 2": (cohere, lambda c: c.chat(model="m", messages=SAID, max_tokens=77)),
    "ollama chat": (ollama, lambda c: c.chat(model="m", messages=SAID, options={"num_predict": 77})),
    "ollama generate": (ollama, lambda c: c.generate(model="m", prompt=PROMPT, options={"num_predict": 77})),
    "huggingface chat": (huggingface, lambda c: c.chat_completion(SAID, max_tokens=77)),
    "huggingface text": (huggingface, lambda c: c.text_generation(PROMPT, max_new_tokens=77)),
    "bedrock converse": (
        bedrock,
        lambda c: c.converse(
            modelId="m",
            messages=[{"role": "user", "content": [{"text": PROMPT}]}],
            inferenceConfig={"maxTokens": 77},
        ),
    ),
    "bedrock invoke": (
        bedrock,
        lambda c: c.invoke_model(modelId="m", body=json.dumps({"messages": SAID, "max_tokens": 77})),
    ),
    "lm15": (lm15, lm15_call),
}


def adapters(kind: type = ClientAdapter) -> Iterator[type]:
    yield kind
    for each in kind.__subclasses__():
        yield from adapters(each)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What budgets were shown of the calls that reported no usage."""
    bodies: list[Any] = []

    def noting(original: Callable[[Any, Call], Any]) -> Callable[[Any, Call], Any]:
        def sent_body(self: Any, call: Call) -> Any:
            bodies.append(original(self, call))
            return bodies[-1]

        return sent_body

    for kind in set(adapters()):
        if "sent_body" in vars(kind):
            monkeypatch.setattr(kind, "sent_body", noting(vars(kind)["sent_body"]))
    return bodies


@pytest.mark.filterwarnings("ignore:Interactions usage is experimental")
@pytest.mark.parametrize("name", SENT)
def test_the_limit_and_the_prompt_of_a_call_are_found(
    name: str, sent: list[Any], replay: ReplayServer, steps: ModuleType
) -> None:
    pytest.importorskip(PACKAGES.get(name.partition(" ")[0], "openai"))
    open_client, make = SENT[name]
    answer = json_answer({"generated_text": "hi"})
    exchange = replay.serve(answer, answer)
    with open_client(SYNC, f"{replay.address}/{exchange.token}") as client, steps.step("s", max_tokens=10**6):
        for _ in range(2):
            with suppress(Exception):  # the answer is none
                make(client)
    assert [output_cap(body) for body in sent] == [77, 77]
    assert all(100 <= request_size(body).tokens < 140 for body in sent)
    assert len({request_fingerprint(body) for body in sent}) == 1
