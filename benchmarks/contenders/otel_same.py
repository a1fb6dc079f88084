"""As otel_floor, with as many attributes on each span as otel_harn_steps writes, at the same moments and nothing behind them.

A step: 3 at its start, 5 after each call, its status at its end, with 4 zeros where it made no call. A call: 5 at its start, 6
at its end. (A nested step of ours has one more at its start: its path.)
"""
import functools
import inspect

import contenders.otel_floor as floor
from opentelemetry import trace

START = {"step.name": "bench", "step.max_tokens": 10**12, "step.max_usd": 1e9}
SPENT = ("step.input", "step.output", "step.calls")
ENDED = {"step.status": "completed"}
ENDED_WITHOUT_CALLS = {**dict.fromkeys(SPENT, 0), "step.cost": 0.0, **ENDED}


def request_attributes(request):
    return {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": request["model"],
            "step.name": "bench", "server.address": "bench.invalid"}


def response_attributes(answer, finish_reason, cost):
    return {"gen_ai.response.model": answer.model, "gen_ai.response.id": answer.id, "call.cost": cost,
            "gen_ai.response.finish_reasons": (finish_reason,), "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": answer.usage.completion_tokens}


def bill(step, model, usage):
    step.set_attributes({**dict.fromkeys(SPENT, usage.prompt_tokens), "step.cost": 1e-6, "step.model": model})


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
        span.set_attributes(response_attributes(answer, "stop", 1e-6))
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
