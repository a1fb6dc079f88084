"""A crew of one agent with a tool, as in the quickstart of CrewAI."""

from pathlib import Path

from crewai import Agent, Crew, Task
from crewai.tools import tool


@tool("add_to_report")
def add_to_report(text: str) -> str:
    """Add a line to the report."""
    with Path("report.txt").open("a", encoding="utf-8") as report:
        report.write(text)
    return "Added."


writer = Agent(
    role="Writer", goal="Write reports", backstory="You write reports.", llm="openai/gpt-4o-mini", tools=[add_to_report]
)
task = Task(description="Write a report about the rivers of Europe: {river}.", expected_output="A report", agent=writer)
crew = Crew(agents=[writer], tasks=[task])


def main() -> None:
    print(crew.kickoff(inputs={"river": "all"}).raw)


if __name__ == "__main__":
    main()
