"""An agent with a tool, as in the guided tour of smolagents."""

from pathlib import Path

from smolagents import OpenAIModel, ToolCallingAgent, tool


@tool
def add_to_report(text: str) -> str:
    """Add a line to the report.

    Args:
        text: The line.
    """
    with Path("report.txt").open("a", encoding="utf-8") as report:
        report.write(text)
    return "Added."


def main() -> None:
    agent = ToolCallingAgent(tools=[add_to_report], model=OpenAIModel("gpt-4o-mini"))
    print(agent.run("Write a report about the rivers of Europe."))


if __name__ == "__main__":
    main()
