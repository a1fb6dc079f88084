"""An agent with a tool, as on the first page of dspy."""

from pathlib import Path

import dspy


def add_to_report(text: str) -> str:
    """Add a line to the report."""
    with Path("report.txt").open("a", encoding="utf-8") as report:
        report.write(text)
    return "Added."


dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
writer = dspy.ReAct("question -> answer", tools=[add_to_report])


def main() -> None:
    print(writer(question="Write a report about the rivers of Europe.").answer)


if __name__ == "__main__":
    main()
