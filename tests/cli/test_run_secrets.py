"""What `otel-harn-steps run` says and writes holds nothing of what the app asked, got or failed with."""

from __future__ import annotations

import re

import pytest

MARKER = re.compile(r"SECRET\w*")


@pytest.mark.parametrize("ending", ["return", 'raise type("SECRETclass", (ValueError,), {})("SECRETmessage")'])
def test_no_secret_is_said_or_written(app, ask, provider, ending):
    pytest.importorskip("openai")
    ask()
    app.environment["OPENAI_API_KEY"] = "SECRETkey"
    app.write(
        "main.py",
        f"""
        import agent

        def work(question):
            agent.plan(question)
            {ending}

        try:
            work("SECRETprompt")
        except ValueError:
            pass
        """,
    )
    app.write(
        "harn-steps.toml",
        """
        redact_errors = true
        [[steps]]
        target = "__main__:work"
        [[steps]]
        target = "agent:plan"
        budget = { max_usd = 0, preflight = "exhausted" }
        error_boundary = "continue"
        """,
    )
    options = ("--step-records", "records.jsonl", "--json", "run.json", "--records", "journal")

    done = app.run("python", "main.py", options=options)

    assert done.returncode == 0, done.stderr
    assert provider.received
    written = [path for path in app.folder.rglob("*") if path.is_file() and path.suffix in {".json", ".jsonl"}]
    left = [done.stdout, done.stderr, *(path.read_text(encoding="utf-8") for path in written)]
    assert len(written) >= 3
    assert MARKER.findall("\n".join(left)) == []
    (failed,) = [each for each in app.records() if each["name"] == "work"]
    assert (failed["status"], failed["error"]) in {("completed", None), ("failed", "ValueError")}
