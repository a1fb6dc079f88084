"""An agent that writes a small newsletter with OpenAI and Anthropic models.

Plain client code: all that it knows of otel_harn_steps is the decorator `@step`.
"""

import asyncio
from pathlib import Path

from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message, TextBlockParam
from openai import AsyncOpenAI, OpenAI

from otel_harn_steps import step

openai = OpenAI()
openai_async = AsyncOpenAI()
claude = Anthropic()
claude_async = AsyncAnthropic()

ARTICLES = Path(__file__).with_name("articles.txt").read_text(encoding="utf-8")


@step("newsletter", agent="newsletter")
def newsletter(title: str) -> str:
    """One issue: its sections, written at the same time, and a joke to end on."""
    embed(title)
    sections = asyncio.run(write_sections())
    joke = openai.chat.completions.create(
        model="gpt-5-nano",
        messages=[{"role": "user", "content": "Tell me a joke about opentelemetry"}],
    )
    return "\n\n".join([title, *sections, joke.choices[0].message.content or ""])


@step("embed")
def embed(title: str) -> list[float]:
    """The title as a vector, to file the issue in the archive."""
    answer = openai.embeddings.create(model="text-embedding-3-small", input=[title], dimensions=128)
    return answer.data[0].embedding


async def write_sections() -> list[str]:
    """The sections that could be written. One that fails is left out of the issue."""
    sections = await asyncio.gather(digest(), quiz(), weather(), script(), return_exceptions=True)
    return [section for section in sections if isinstance(section, str)]


@step("digest")
async def digest() -> str:
    """Summaries of long articles, twice: the first request writes the prompt cache, the second reads it."""
    articles: TextBlockParam = {"type": "text", "text": ARTICLES, "cache_control": {"type": "ephemeral"}}
    async with claude_async.messages.stream(
        model="claude-3-5-sonnet-20240620",
        max_tokens=1024,
        messages=[{"role": "user", "content": [articles]}],
    ) as stream:
        draft = await stream.get_final_text()
    shorter = await claude_async.messages.create(
        model="claude-3-5-sonnet-20240620",
        max_tokens=1024,
        messages=[{"role": "user", "content": [articles]}],
    )
    return min(draft, text_of(shorter), key=len)


@step("quiz")
async def quiz() -> str:
    """Two questions with their answers, from two providers at the same time."""
    return "\n".join(await asyncio.gather(ask_gpt("What is the capital of France?"), ask_claude("What is 2 + 2?")))


@step("ask gpt")
async def ask_gpt(question: str) -> str:
    """The question with its answer, as a plain chat stream."""
    stream = await openai_async.chat.completions.create(
        model="gpt-5", messages=[{"role": "user", "content": question}], stream=True
    )
    answer = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    return f"{question} {''.join(answer)}"


@step("ask claude")
async def ask_claude(question: str) -> str:
    """The question with its answer, thought about first."""
    async with claude_async.messages.stream(
        model="claude-sonnet-4-5",
        max_tokens=5120,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": f"{question} Think before you answer."}],
    ) as stream:
        return f"{question} {await stream.get_final_text()}"


@step("weather", max_tokens=5000, error_boundary="continue", fallback="Weather: look out of the window.")
async def weather() -> str:
    """The weather from a web search. Where that reads too much, the fallback stands in the issue."""
    stream = await openai_async.responses.create(
        model="gpt-5",
        input="What is the weather in San Francisco today?",
        tools=[{"type": "web_search", "search_context_size": "medium"}],
        stream=True,
    )
    return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])


@step("script", max_usd=0.004)
async def script() -> str:
    """The script of the week. Too dear, it fails, and the issue comes without it."""
    answer = await openai_async.responses.create(
        model="gpt-5.4",
        reasoning={"effort": "low"},
        max_output_tokens=300,
        input="Write a bash script that takes a matrix represented as a string with format '[1,2],[3,4],[5,6]' "
        "and prints the transpose in the same format.",
    )
    return answer.output_text


@step("invite", max_tokens=50, error_boundary="escalate")
def invite(announcement: str) -> str:
    """The facts of an announcement. Where that takes long, a person shall look at it."""
    answer = claude.messages.create(
        model="claude-sonnet-4-6",
        max_tokens=1024,
        messages=[{"role": "user", "content": f"Extract the key information from: {announcement}"}],
    )
    return text_of(answer)


def text_of(answer: Message) -> str:
    """The text in an answer, without thinking and tool calls."""
    return "".join(block.text for block in answer.content if block.type == "text")
