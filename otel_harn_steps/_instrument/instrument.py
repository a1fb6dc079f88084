"""`instrument()` and `uninstrument()`: patch what is installed, now or when it is imported, and put everything back."""

from __future__ import annotations

from otel_harn_steps._instrument.instrumentation import replace_instrumentation
from otel_harn_steps._instrument.options import Options, takes_options


@takes_options(Options)
def instrument(options: Options) -> None:  # noqa: D417 -- the arguments are the fields of `Options`
    """Patch the model clients, so that their calls are billed to the step that they run in.

    Clients that are imported later are patched then. A `StepSpanProcessor` is added to the SDK's tracer provider, if
    there is one; without an SDK budgets and records work the same.

    Called again, it replaces the earlier call whole: an argument that you leave out has its default, whatever the
    earlier call said. A wrong argument raises before anything is changed.

    Args:
        prices: your own prices, before the price book: US dollars per million tokens by model, as in
            `{"my-model": {"input_mtok": 2.5, "output_mtok": 10}}`. Keys: "model", "provider:model", "provider:*".
        models: the model behind a name of your own (a deployment, an inference profile), for its price: as in
            `{"my-prod-deployment": "gpt-4o"}`. Keys: "name", "provider:name".
        unpriced: what a `max_usd` budget does about a call of unknown price: "estimate" (it counts the most expensive
            rate that the price book knows for the provider, or for any), "ignore" (it counts nothing), "refuse" (the
            call breaches it), or the rates to assume, which are then the call's cost with and without a budget.
        unmetered: what a budget does about a call whose usage is unknown (a stream that was cut, a response without
            usage): "estimate" (it counts an estimate of the tokens), "ignore" (it counts nothing), "refuse" (the call
            breaches it). Estimates are kept apart from what was measured.
        call_spans: whether each call gets a span. "auto": unless another instrumentation makes one.
        emit: names under which the spans of calls carry their dollars beside `harn.call.cost_usd`, for backends that
            read these: "gen_ai.usage.cost", "operation.cost", "llm.cost.total", "langfuse" (Langfuse's attributes of a
            generation), "phoenix" (by which Phoenix, which takes no dollars, finds its price). Never on spans of steps.
        conversation_label: the label whose value is `gen_ai.conversation.id` on the spans of steps and calls.
        stream_usage: whether an OpenAI chat stream is asked for its usage where the app did not ask. The app sees the
            same chunks either way.
        metrics: whether steps and calls are counted in metrics.
        metric_step_names: how many names of steps metrics may have. Steps of further names are "other" in them, which
            one WARNING says: a metric keeps a series for each name, for ever. Spans and records have every name.
        metric_labels: labels that metrics have too, as `harn.label.NAME`, such as `["tenant"]`: those of the calls on
            `harn.call.*`, those that a step was entered with on `harn.step.*`. Budgets that are crossed are counted
            without them.
        metric_label_values: how many values of each of these metrics may have. Further ones are "other" in them, which
            one WARNING says. Spans, records and the ledger have every value.
        redact_errors: whether records and spans name the type of an app's exception instead of its message, which may
            quote a prompt. The messages of budget errors hold names and numbers only, and stay.
        pause_folder: a folder in which steps with `error_boundary="pause"` ask whether they may spend more, and find
            the answer: see the documentation of budgets. None: they do not ask there.
        tracer_provider: where spans go; default: the global one.
        meter_provider: where metrics go; default: the global one. Set the global one before you call `instrument()`:
            counters of budget breaches begin at 0 here, and a provider that is set later does not see it.
        logger_provider: where log events go; default: the global one.
        sinks: callables that receive each `CompletedStep`, or objects with methods of `LedgerSink`.
        sink_queue: how many records, rows of calls and starts of steps may wait for the sinks, which then receive them
            in a thread of their own, in order: a slow sink does not hold up the app. What finds the queue full is lost,
            counted by `dropped_sink_events()`, and told once at WARNING. The queue is emptied at the end of the
            program, by `uninstrument()`, and by the tracer provider's `force_flush()`. None: sinks are called in the
            app's thread, and a `Journal` or a `JsonLinesSink` has written before the app goes on.
        clients: the client libraries to patch, as in `["openai", "anthropic"]`; None: all that are known.
        frameworks: agent frameworks whose agents, nodes and tasks are steps by their own names, as in `["langgraph"]`:
            "openai-agents", "langgraph", "pydantic-ai", "crewai"; "auto" for all of them.
        providers: adapters of your own for further client libraries: see `otel_harn_steps.providers`.
        agents: what the steps of an agent may spend together, in one run and one process: a `Budget`, or its limits, by
            the agent's name or a pattern, as in `{"researcher": {"max_usd": 0.5}, "*-writer": {"max_calls": 40}}`. An
            agent takes the budget by its name, else by the first pattern that it matches.
        budgets: what each value of a label may spend in a window, in one process: `key` is the label, `window` is "run"
            (default), "hour", "day" or "month" (of UTC), the rest are the limits of a `Budget`, as in
            `{"tenants": {"key": "tenant", "window": "day", "max_usd": 5}}`. A call without the label is not bounded.
        baggage_labels: the keys of W3C baggage that are labels of the steps and calls in its context. `labels(...)`
            goes before them. They are not sent to the provider: a call is made in a context without them.
        threads: whether threads, tasks of thread pools, and callbacks of their futures run in the OpenTelemetry Context
            of those who started, submitted or added them, and so in their step.
        unseen_calls: whether HTTP requests to known model hosts that no patched client made are counted, and named in a
            WARNING: see `unseen_calls()`.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it, its value and what is allowed.
    """
    replace_instrumentation(options)


def uninstrument() -> None:
    """Put every original back, remove the span processor, close the sinks, and forget the settings."""
    replace_instrumentation(None)
