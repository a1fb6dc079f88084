"""Ten nodes at the same time, as in LangGraph's map and reduce: each is a graph of its own with a model and its tools."""

from operator import add
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send
from langgraph_report import graph as writer


class Reports(TypedDict):
    rivers: list[str]
    reports: Annotated[list[str], add]


class River(TypedDict):
    river: str


def to_writers(state: Reports) -> list[Send]:
    return [Send("write", {"river": river}) for river in state["rivers"]]


def write(state: River) -> dict:
    question = f"Write a report about the rivers of Europe: {state['river']}."
    messages = writer.invoke({"messages": [{"role": "user", "content": question}]})["messages"]
    return {"reports": [messages[-1].content]}


builder = StateGraph(Reports)
builder.add_node("write", write, retry_policy=RetryPolicy())
builder.add_conditional_edges(START, to_writers, ["write"])
builder.add_edge("write", END)
graph = builder.compile()


def main() -> None:
    print(graph.invoke({"rivers": [f"river {number}" for number in range(10)], "reports": []})["reports"])


if __name__ == "__main__":
    main()
