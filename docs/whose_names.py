"""Which of the names on the wire others have made, and in which version of what."""

from __future__ import annotations

from otel_harn_steps._telemetry import names

READ_IN = "the state of October 2026"
GENAI = "GenAI conventions, 1.42.0-dev"
CORE = "core conventions, 1.44.0, stable"
PHOENIX = (names.PHOENIX_MODEL, names.PHOENIX_CACHE_WRITE, names.PHOENIX_SEARCHES)
LANGFUSE = (names.LANGFUSE_COST, names.LANGFUSE_USAGE, names.LANGFUSE_TYPE, names.LANGFUSE_FIRST_CHUNK)
NOTES = {
    names.AGENT_NAME: "also on the spans of calls and of inner steps, as proposed for every layer (issue 522)",
    names.PROVIDER: "`gen_ai.system` before core 1.37",
    names.CALL_CACHE_WRITE: "`gen_ai.usage.cache_creation.input_tokens` before",
    names.CLIENT_DURATION[0]: "proposed to become `gen_ai.client.inference.duration` (pull request 521)",
    names.CLIENT_INPUT[0]: "takes the place of `gen_ai.client.token.usage`, with the four below",
    names.TOKEN_TYPE: "on a metric of ours; the conventions have left it with `gen_ai.client.token.usage`",
}


def whose_names() -> list[tuple[str, tuple[str, str]]]:
    """The names that others have made, with whose they are, and a note."""
    mine = "harn."
    ours = [each.name for each in (*names.ATTRIBUTES, *names.METRICS)]
    found = [*ours, names.MODALITY, names.TOKEN_TYPE]
    made = {
        name: (GENAI if name.startswith("gen_ai.") else CORE, NOTES.get(name, ""))
        for name in found
        if not name.startswith(mine)
    }
    emitted = {
        "gen_ai.usage.cost": ("OpenLIT, Langfuse; in no conventions", "by `emit` alone"),
        "operation.cost": ("Logfire", "by `emit` alone"),
        "llm.cost.total": ("OpenInference 0.1.42", "by `emit` alone"),
        **dict.fromkeys(PHOENIX, ("OpenInference 0.1.42", 'by `emit = ["phoenix"]` alone')),
        **dict.fromkeys(LANGFUSE, ("Langfuse", 'by `emit = ["langfuse"]` alone')),
    }
    return [*made.items(), *emitted.items()]
