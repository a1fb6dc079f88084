"""Steps without a list of functions: the agents, nodes and tasks of a framework, each a step by its own name.

One framework is one small file: where its lowest run method is, what the step is called, and what stands for the result
where the error boundary says `continue`. None of them is imported here before the app has imported it.
"""

from __future__ import annotations

from typing import Final

FRAMEWORKS: Final = ("openai-agents", "langgraph", "pydantic-ai", "crewai")
"""The words by which they are switched on."""
