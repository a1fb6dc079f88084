"""As otel_floor, with as many attributes on each span as otel_harn_steps writes, at the same moments and nothing behind them.

A step: 5 at its start, 9 after each call, the remaining ones and its status at its end. A call: 4 at its start, 5 at its end.
"""
import functools
import inspect

import contenders.otel_floor as floor
from opentelemetry import trace

START = {"step.name": "bench", "step.function": "bench", "step.path": "bench", "step.max_tokens": 10**12, "step.max_usd": 1e9}
RARE = dict.fromkeys(("step.cache_read", "step.cache_write", "step.reasoning", "step.unpriced", "step.unmetered", "step.observed"), 0)
SPENT = ("step.input", "step.output", "step.calls", "step.total.input", "step.total.output", "step.total.calls")
ENDED = {**RARE, "step.exceeded": False, "step.status": "completed"}
ENDED_WITHOUT_CALLS = {**dict.fromkeys(SPENT, 0), "step.cost": 0.0, "step.total.cost": 0.0, **ENDED}


def request_attributes(request):
    return {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": request["model"],
            "step.name": "bench"}


def response_attributes(model, id_, usage, cost):
    return {"gen_ai.response.model": model, "gen_ai.response.id": id_, "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens, "call.cost": cost}


def bill(step, model, usage):
    spent = dict.fromkeys(SPENT, usage.prompt_tokens)
    step.set_attributes({**spent, "step.cost": 1e-6, "step.total.cost": 1e-6, "step.model": model})


class C(floor.C):
    def step(self, name):
        tracer = self.tracer

        def end(span):
            span.set_attributes(ENDED if "step.cost" in span.attributes else ENDED_WITHOUT_CALLS)

        def decorate(fn):
            if inspect.iscoroutinefunction(fn):
                @functools.wraps(fn)
                async def run(*args, **kwargs):
                    with tracer.start_as_current_span(name, attributes=START) as span:
                        value = await fn(*args, **kwargs)
                        end(span)
                        return value
            else:
                @functools.wraps(fn)
                def run(*args, **kwargs):
                    with tracer.start_as_current_span(name, attributes=START) as span:
                        value = fn(*args, **kwargs)
                        end(span)
                        return value
            return run
        return decorate

    def span(self, request):
        return self.tracer.start_as_current_span("chat " + request["model"], kind=floor.SpanKind.CLIENT,
                                                 attributes=request_attributes(request))

    def answered(self, step, span, answer):
        span.set_attributes(response_attributes(answer.model, answer.id, answer.usage, 1e-6))
        bill(step, answer.model, answer.usage)

    def chat(self, client, **request):
        step = trace.get_current_span()
        with self.span(request) as span:
            r = client.chat.completions.create(**request)
            self.answered(step, span, r)
            return r

    async def achat(self, client, **request):
        step = trace.get_current_span()
        with self.span(request) as span:
            r = await client.chat.completions.create(**request)
            self.answered(step, span, r)
            return r

    def stream(self, client, **request):
        step = trace.get_current_span()
        with self.span(request) as span:
            for chunk in super(floor.C, self).stream(client, **request):
                if chunk.usage:
                    self.answered(step, span, chunk)
                yield chunk
