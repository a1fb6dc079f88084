"""An agent with a tool, as in the quickstart of openai-agents."""

from pathlib import Path

from agents import Agent, Runner, function_tool


@function_tool
def add_to_report(text: str) -> str:
    """Add a line to the report."""
    with Path("report.txt").open("a", encoding="utf-8") as report:
        report.write(text)
    return "Added."


writer = Agent(name="Writer", instructions="You write reports.", model="gpt-4o-mini", tools=[add_to_report])


def main() -> None:
    result = Runner.run_sync(writer, "Write a report about the rivers of Europe.")
    print(result.final_output)


if __name__ == "__main__":
    main()
