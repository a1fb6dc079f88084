"""Correctness: does each step's telemetry carry the right token counts? Every step call gets its own count."""
import asyncio
import json
import threading
from collections import Counter, defaultdict

from fakes import CHUNKS, TOKENS_OUT
from workloads import MANY

KEYS = [("harn.step.input_tokens", "harn.step.output_tokens"),
        ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
        ("llm.token_count.prompt", "llm.token_count.completion"),
        ("gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens")]


def span_tokens(span):
    a = span.attributes or {}
    for i, o in KEYS:
        if i in a:
            return a[i], a.get(o)
    usage = a.get("langfuse.observation.usage_details")
    if usage:
        u = json.loads(usage)
        return u.get("prompt_tokens", u.get("input")), u.get("completion_tokens", u.get("output"))
    return None


def drive(w, name):
    """Run the workload once, each step with its own token count; returns LLM calls per step."""
    if name == "W1":
        for n in range(100, 105):
            w.one_call(f"tokens={n}")
    elif name == "W2":
        for n in range(100, 103):
            w.many_calls(f"tokens={n}")
        return MANY
    elif name == "W3":
        async def batch():
            await asyncio.gather(*[w.async_call(f"tokens={n}") for n in range(100, 200)])
        w.loop.run_until_complete(batch())
    elif name == "W4":
        for n in range(100, 105):
            assert w.stream_call(f"tokens={n}") == CHUNKS + 1
    elif name == "W6":
        def run(lo):
            for n in range(lo, lo + 5):
                w.one_call(f"tokens={n}")
        threads = [threading.Thread(target=run, args=(100 + 10 * i,)) for i in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
    return 1


def describe(span):
    return {"name": span.name, "kind": span.kind.name, "scope": span.instrumentation_scope.name,
            "attributes": sorted(span.attributes or {}), "events": len(span.events)}


def depth(span, by_id):
    return 1 + depth(by_id[span.parent.span_id], by_id) if span.parent and span.parent.span_id in by_id else 1


def check(c, tel, w):
    from opentelemetry import trace
    out = {}
    for name in ("W1", "W2", "W3", "W4", "W6"):
        tel.spans.clear()
        before = c.tokens()
        expected, step_of = [], {}

        def seen(prompt):
            n = int(prompt.partition("=")[2])
            ctx = trace.get_current_span().get_span_context()
            expected.append(n)
            if ctx.is_valid:
                step_of[(ctx.trace_id, ctx.span_id)] = n

        w.seen = seen
        calls = drive(w, name)
        w.seen = lambda prompt: None
        getattr(trace.get_tracer_provider(), "force_flush", lambda: None)()
        by_id = {(s.context.trace_id, s.context.span_id): s for s in tel.spans}
        own, calls_of, orphans = {}, defaultdict(lambda: [0, 0]), []
        for s in tel.spans:
            tokens = span_tokens(s)
            if tokens is None:
                continue
            key = (s.context.trace_id, s.context.span_id)
            if key in step_of:
                own[key] = list(tokens)
                continue
            while key not in step_of and key in by_id and by_id[key].parent:
                key = (by_id[key].parent.trace_id, by_id[key].parent.span_id)
            if key in step_of:
                calls_of[key] = [a + b for a, b in zip(calls_of[key], tokens)]
            else:
                orphans.append(tokens[0])

        def right_step(key, n):
            found = [by_key[key] for by_key in (own, calls_of) if key in by_key]
            return bool(found) and all(f == [n * calls, TOKENS_OUT * calls] for f in found)

        right = sum(right_step(k, n) for k, n in step_of.items())
        steps = len(expected)
        out[name] = {"steps": steps, "spans_per_step": round(len(tel.spans) / steps, 2), "steps_right": right,
                     "on_step": len(own), "on_calls": len(calls_of), "orphans": len(orphans),
                     "orphans_right": sorted(orphans) == sorted(expected * calls), "span_names": dict(Counter(s.name for s in tel.spans))}
        after = c.tokens()
        if after is not None:
            out[name]["counter"] = [after[0] - before[0], after[1] - before[1]]
            out[name]["counter_expected"] = [sum(expected) * calls, TOKENS_OUT * calls * steps]
        if name in ("W1", "W4") and tel.spans:
            kinds = {}
            for s in tel.spans:
                kinds.setdefault(s.name, describe(s))
            out[name]["spans"] = list(kinds.values())
    tel.spans.clear()
    w.outer()
    getattr(trace.get_tracer_provider(), "force_flush", lambda: None)()
    ids = {s.context.span_id: s for s in tel.spans}
    out["W5"] = {"spans": len(tel.spans), "depth": max([depth(s, ids) for s in tel.spans], default=0)}
    return out
