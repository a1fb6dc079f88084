"""OpenInference's callbacks in LangChain: their spans stand beside the calls, which the engine bills."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.coexistence.matrix import ROOT
from tests.coexistence.venvs import python_of


@pytest.mark.slow
def test_a_call_that_a_callback_tells_of_is_billed_once() -> None:
    command = [python_of("openinference-langchain"), "-m", "tests.coexistence.langchain_runner"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    billed = {
        record["name"]: [record[name] for name in ("llm_calls", "observed_calls", "input_tokens", "output_tokens")]
        for record in records
    }
    assert billed == {
        "invoke": [1, 0, 23, 6],
        "batch": [3, 0, 69, 18],
        "stream": [1, 0, 23, 6],
        "gather": [3, 0, 69, 18],
    }
