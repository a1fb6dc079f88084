"""crewai: its own totals count each request twice, so they are no oracle."""

from __future__ import annotations

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

from tests.integration.through_frameworks.scenes import CHAT, KEY, OPENAI_URL, play


@tool("look_up")
def look_up(word: str) -> str:
    """Look a word up."""
    return word


def _kicked_off(text: str, *, stream: bool) -> None:
    model = LLM(model=f"openai/{CHAT}", base_url=OPENAI_URL, api_key=KEY, stream=stream)
    reader = Agent(role="reader", goal="read", backstory="reads", llm=model, tools=[look_up], max_iter=3)
    crew = Crew(agents=[reader], tasks=[Task(description=text, expected_output="a word", agent=reader)])
    crew.kickoff()


def crew() -> None:
    _kicked_off("hello", stream=False)


def crew_with_a_tool() -> None:
    _kicked_off("use the tool", stream=False)


def crew_streamed() -> None:
    _kicked_off("hello", stream=True)


def model_alone() -> None:
    LLM(model=f"openai/{CHAT}", base_url=OPENAI_URL, api_key=KEY).call("hello")


if __name__ == "__main__":
    play(crew, crew_with_a_tool, crew_streamed, model_alone)
