"""A model and its tools in a graph, as in the quickstart of LangGraph, with a retry policy for the model's node."""

from pathlib import Path

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import RetryPolicy


def add_to_report(text: str) -> str:
    """Add a line to the report."""
    with Path("report.txt").open("a", encoding="utf-8") as report:
        report.write(text)
    return "Added."


model = ChatOpenAI(model="gpt-4o-mini").bind_tools([add_to_report])


def call_model(state: MessagesState) -> dict:
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node("call_model", call_model, retry_policy=RetryPolicy())
builder.add_node("tools", ToolNode([add_to_report]))
builder.add_edge(START, "call_model")
builder.add_conditional_edges("call_model", tools_condition)
builder.add_edge("tools", "call_model")
graph = builder.compile()


def main() -> None:
    question = "Write a report about the rivers of Europe."
    print(graph.invoke({"messages": [{"role": "user", "content": question}]})["messages"][-1].content)


if __name__ == "__main__":
    main()
