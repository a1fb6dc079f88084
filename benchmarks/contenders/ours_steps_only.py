"""otel_harn_steps without spans for calls: all the rest as in `ours`."""
import contenders.ours


class C(contenders.ours.C):
    venv = "ours"
    call_spans = False
