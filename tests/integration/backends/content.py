"""Where instrumentations put prompts, completions and documents. Each place gets a word of its own that must not arrive."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

# Names as the instrumentations' own constants have them (opentelemetry-semantic-conventions 0.66b2, openinference-semantic-conventions
# 0.1.42, opentelemetry-semantic-conventions-ai 0.5.1), and as they are flattened on spans.
SPAN_ATTRIBUTES = {
    "OpenTelemetry GenAI": [
        "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions",
        "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.tool.description", "gen_ai.retrieval.documents",
        "gen_ai.retrieval.query.text", "gen_ai.evaluation.explanation", "gen_ai.agent.description", "gen_ai.prompt", "gen_ai.completion",
    ],
    "OpenInference": [
        "input.value", "output.value", "input.images", "output.images", "input.documents", "output.documents", "metadata",
        "llm.input_messages.0.message.content", "llm.input_messages.0.message.contents.0.message_content.text",
        "llm.input_messages.1.message.contents.0.message_content.image.image.url", "llm.output_messages.0.message.content",
        "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments", "llm.output_messages.0.message.function_call_arguments_json",
        "llm.prompts.0.prompt.text", "llm.prompts", "llm.choices.0.completion.text", "llm.prompt_template.template",
        "llm.prompt_template.variables", "llm.invocation_parameters", "llm.function_call", "llm.tools.0.tool.json_schema",
        "tool.description", "tool.parameters", "tool.json_schema", "retrieval.documents.0.document.content", "retrieval.documents.0.document.metadata",
        "reranker.query", "reranker.input_documents.0.document.content", "reranker.output_documents.0.document.content",
        "embedding.embeddings.0.embedding.text", "embedding.invocation_parameters", "message.content", "message_content.text", "tool_call.function.arguments",
        "document.content", "audio.transcript", "image.url", "video.url", "trace.evaluations", "annotations.0.annotation.explanation",
    ],
    "OpenLLMetry": [
        "gen_ai.prompt.0.content", "gen_ai.prompt.1.tool_calls.0.arguments", "gen_ai.completion.0.content", "gen_ai.completion.0.tool_calls.0.arguments",
        "gen_ai.completion.0.reasoning", "llm.prompts.0.content", "llm.completions.0.content", "traceloop.entity.input", "traceloop.entity.output",
        "traceloop.association.properties.user_question", "traceloop.prompt.template", "traceloop.prompt.template_variables",
        "gen_ai.content.completion.chunk", "llm.content.completion.chunk", "gen_ai.request.structured_output_schema", "llm.request.functions.0.description",
        "gen_ai.task.input", "gen_ai.task.output", "gen_ai.headers", "llm.headers", "mcp.request.argument", "mcp.response.value", "mcp.session.init_options",
        "pinecone.query.queries", "pinecone.query.filter", "db.chroma.query.where_document", "db.marqo.search.query",
    ],
}  # fmt: skip

EVENTS = [
    (
        "gen_ai.client.inference.operation.details",
        ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions"],
    ),
    ("gen_ai.content.prompt", ["gen_ai.prompt"]),
    ("gen_ai.content.completion", ["gen_ai.completion"]),
    ("gen_ai.user.message", ["content", "gen_ai.event.content"]),
    ("gen_ai.choice", ["message", "gen_ai.event.content"]),
    ("llm.content.completion.chunk", ["body"]),
    ("db.query.result", ["db.query.result.document", "db.query.result.metadata"]),
    ("exception", ["exception.message", "exception.stacktrace"]),
]

# What no list of names can know: only a list of what may stay stops it.
UNHEARD_OF = [
    "my_agent.last_question",
    "prompt",
    "gen_ai.thought",
    "langfuse.observation.input",
    "db.query.text",
    "url.full",
    "gen_ai.user",
]

STAYS = {
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.operation.name": "chat",
    "openinference.span.kind": "LLM",
    "traceloop.span.kind": "workflow",
}
NUMBERS = {
    "gen_ai.usage.input_tokens": 1234,
    "llm.token_count.prompt": 1234,
    "llm.usage.total_tokens": 5678,
    "harn.step.input_tokens": 1234,
}


class Words:
    """Words that occur nowhere else, each with the place that it was put into."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}
        self._numbers = count(1)

    def word(self, place: str) -> str:
        """A new word for `place`, in a sentence."""
        word = f"confidential{next(self._numbers):04}x"
        self.places[word] = place
        return f"please keep {word} to yourself"

    def found_in(self, data: bytes) -> list[str]:
        """The places whose words are in `data`."""
        return [place for word, place in self.places.items() if word.encode() in data]


def _text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _shapes(words: Words, key: str) -> Iterator[KeyValue]:
    """The same attribute as a text, a list and a map: instrumentations differ."""
    yield _text(key, words.word(key))
    yield KeyValue(
        key=key, value=AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=words.word(f"{key} as a list"))]))
    )
    inner = KeyValueList(values=[_text("content", words.word(f"{key} as a map"))])
    yield KeyValue(key=key, value=AnyValue(kvlist_value=inner))


def spans(words: Words, *, unheard_of: bool) -> ExportTraceServiceRequest:
    """Spans with content in every place above. With `unheard_of`, in places that are on no list, too."""
    made: list[Span] = []

    def span(name: str, status: Status | None = None) -> Span:
        made.append(
            Span(
                name=name,
                trace_id=bytes([1]) * 16,
                span_id=len(made).to_bytes(8, "big"),
                kind=Span.SPAN_KIND_CLIENT,
                status=status,
            )
        )
        made[-1].attributes.extend(_text(key, value) for key, value in STAYS.items())
        made[-1].attributes.extend(KeyValue(key=key, value=AnyValue(int_value=value)) for key, value in NUMBERS.items())
        return made[-1]

    keys = [key for each in SPAN_ATTRIBUTES.values() for key in each] + (UNHEARD_OF if unheard_of else [])
    for key in keys:
        for attribute in _shapes(words, key):
            span("chat gpt-4o-mini").attributes.append(attribute)
    for event, its_keys in EVENTS:
        for key in its_keys:
            for attribute in _shapes(words, key):
                words.places[next(reversed(words.places))] = f"{key} of the event {event}"
                span("chat gpt-4o-mini").events.append(Span.Event(name=event, attributes=[attribute]))
    scope, resource = InstrumentationScope(name="test"), Resource(attributes=[_text("service.name", "agent")])
    if unheard_of:
        span("chat gpt-4o-mini", status=Status(code=Status.STATUS_CODE_ERROR, message=words.word("the status message")))
        resource.attributes.append(_text("process.command_line", words.word("the command line")))
        scope.attributes.append(_text("note", words.word("the scope")))
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(scope=scope, spans=made)])]
    )


def logs(words: Words) -> ExportLogsServiceRequest:
    """Log events with content in the body and in attributes, and a record of ours with the text of an error."""
    records = [
        LogRecord(event_name=name, body=AnyValue(string_value=words.word(f"the body of {name}"))) for name, _ in EVENTS
    ]
    records += [
        LogRecord(event_name=name, attributes=[next(_shapes(words, key))]) for name, keys in EVENTS for key in keys
    ]
    body = KeyValueList(values=[_text("content", words.word("the body of gen_ai.user.message as a map"))])
    records.append(LogRecord(event_name="gen_ai.user.message", body=AnyValue(kvlist_value=body)))
    records.append(
        LogRecord(
            event_name="harn.step.completed",
            attributes=[
                _text("harn.step.name", "draft"),
                _text("harn.step.error", words.word("a record's error")),
                KeyValue(key="harn.step.cost_usd", value=AnyValue(double_value=0.0625)),
            ],
        )
    )
    resource = Resource(attributes=[_text("service.name", "agent")])
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource, scope_logs=[ScopeLogs(log_records=records)])]
    )
