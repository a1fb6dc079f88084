"""What a program leaves open when it ends."""

from __future__ import annotations

import pytest

pytest.importorskip("openai")

PROGRAM = """
    import gc, sys
    import httpx, openai

    CHUNK = (
        b'data: {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", '
        b'"choices": [{"index": 0, "delta": {"content": "x"}}]}\\n\\n'
    )

    def answer(request):
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=9 * CHUNK)

    client = openai.OpenAI(
        api_key="none", base_url="http://127.0.0.1/v1", http_client=httpx.Client(transport=httpx.MockTransport(answer))
    )

    def leave_a_stream():
        messages = [{"role": "user", "content": "x"}]
        next(client.chat.completions.create(model="gpt-4o", messages=messages, stream=True))

    leave_a_stream()
    if sys.argv[1] == "collected":
        gc.collect()
"""


@pytest.mark.parametrize("when", ["collected", "at the end"])
def test_a_stream_that_a_program_has_left_is_billed_when_it_is_freed(when, app):
    """It is part of a cycle: the garbage collector frees it, at the latest when the program has ended."""
    app.write("main.py", PROGRAM)

    # Unmeasured: where coverage traces the program's end, what it leaves may never be freed.
    app.run("python", "main.py", when, options=("--json", "run.json"), env={"COVERAGE_PROCESS_CONFIG": ""})

    total = app.result()["total"]
    assert (total["calls"], total["unknown_calls"], total["open_calls"]) == (1, 1, 0)
