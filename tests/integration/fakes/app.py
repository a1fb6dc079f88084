"""An app over a fake: `python -m tests.integration.fakes.app with|without`, its plan as JSON on stdin. Prints a line for each call.

The plan: where each client's API is, and what is to be asked of it while the fake behaves in which way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import warnings
from contextvars import copy_context
from typing import Any

from tests.integration.fakes.clients import CLIENTS, Client, read, read_async
from tests.integration.fakes.faults import Fake, fake_at
from tests.integration.fakes.outcomes import of_answer, of_error


class _Heard(logging.Handler):
    """What we log."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def main() -> None:
    plan = json.load(sys.stdin)
    fake = fake_at(plan["fake"], plan["url"])
    warnings.simplefilter("ignore")
    steps: Any = None
    heard = _Heard()
    if sys.argv[1] == "with":
        import otel_harn_steps as steps

        steps.instrument()
        logging.getLogger("otel_harn_steps").addHandler(heard)
    with asyncio.Runner() as loop:
        for name, path in plan["clients"].items():
            for call in plan["calls"]:
                for mode in ("sync", "async"):
                    said = _played(fake, CLIENTS[name], plan["url"] + path, call, mode=mode, steps=steps, loop=loop)
                    key = f"{name} {call['name']} {'stream' if call['stream'] else 'plain'} {mode}"
                    sys.stdout.write(json.dumps({"key": key, **said, "heard": list(heard.said)}) + "\n")
                    heard.said.clear()


def _played(
    fake: Fake, client: Client, url: str, call: dict[str, Any], *, mode: str, steps: Any, loop: asyncio.Runner
) -> dict[str, Any]:
    fake.behave(call["behaviors"])
    seen: list[Any] = []

    async def reading() -> None:
        async for value in read_async(client, url, call["text"], stream=call["stream"], retries=call["retries"]):
            seen.append(of_answer(value))

    def work() -> None:
        try:
            if mode == "async":
                loop.run(reading(), context=copy_context())
            else:
                for value in read(client, url, call["text"], stream=call["stream"], retries=call["retries"]):
                    seen.append(of_answer(value))
        except Exception as error:  # noqa: BLE001 -- noted, to be compared
            seen.append(of_error(error))

    if steps is None:
        work()
        return {"seen": seen, "sent": fake.sent()}
    with steps.step("app"):
        work()
    (record,) = steps.drain_completed_steps()
    billed = [record.llm_calls, record.unmetered_calls, record.input_tokens, record.output_tokens]
    return {"seen": seen, "sent": fake.sent(), "billed": billed}


if __name__ == "__main__":
    main()
