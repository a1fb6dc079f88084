"""smolagents: its own usage is the monitor's."""

from __future__ import annotations

from openai import OpenAI
from smolagents import OpenAIModel, ToolCallingAgent, tool

from otel_harn_steps import step
from tests.integration.through_frameworks.scenes import CHAT, KEY, OPENAI_URL, play


@tool
def look_up(word: str) -> str:
    """Look a word up.

    Args:
        word: the word.
    """
    with step("inside"), OpenAI(base_url=OPENAI_URL, api_key=KEY) as client:
        messages = [{"role": "user", "content": "inside"}]
        client.chat.completions.create(model=CHAT, messages=messages)
    return word


def _monitored(text: str, *, max_steps: int, stream: bool) -> list[int]:
    model = OpenAIModel(CHAT, api_base=OPENAI_URL, api_key=KEY)
    agent = ToolCallingAgent([look_up], model, max_steps=max_steps, verbosity_level=0, stream_outputs=stream)
    agent.run(text)
    usage = agent.monitor.get_total_token_counts()
    return [usage.input_tokens, usage.output_tokens]


def agent() -> list[int]:
    return _monitored("finish by the tool", max_steps=2, stream=False)


def agent_streamed() -> list[int]:
    return _monitored("finish by the tool", max_steps=2, stream=True)


def agent_with_a_tool() -> list[int]:
    return _monitored("use the tool", max_steps=1, stream=False)


if __name__ == "__main__":
    play(agent, agent_streamed, agent_with_a_tool)
