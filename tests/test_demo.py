"""`make demo` as a stranger sees it: the table, the budgets and the traces that it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from decimal import Decimal
from itertools import takewhile
from pathlib import Path

import pytest

from otel_harn_steps.store import Store

ROOT = Path(__file__).resolve().parent.parent

# Step, model, calls, tokens in, cached and out as the recordings in examples/recorded have them, the dollars as an
# independent reading of the same bytes gives them (the `oracle` of the recorded cases: genai-prices 0.2.3), status.
# For the weather that is $0.00828875; it leaves out the one web search of the answer, which OpenAI bills at $10 per 1,000.
SPENT = [
    ("newsletter", "gpt-5-nano-2025-08-07", 1, 15, 0, 993, "0.00039795", "completed"),
    ("embed", "text-embedding-3-small", 1, 4, 0, 0, "0.00000008", "completed"),
    ("digest", "claude-3-5-sonnet-20240620", 2, 1171 + 1169, 1165, 289 + 224, "0.01244475", "completed"),
    ("quiz", "-", 0, 0, 0, 0, "0", "completed"),
    ("ask gpt", "gpt-5-2025-08-07", 1, 13, 0, 11, "0.00012625", "completed"),
    ("ask claude", "claude-sonnet-4-5-20250929", 1, 50, 0, 93, "0.001545", "completed"),
    ("weather", "gpt-5-2025-08-07", 1, 9463, 8320, 582, "0.01828875", "skipped"),
    ("script", "gpt-5.4-2026-03-05", 1, 44, 0, 288, "0.00443", "failed"),
    ("invite", "claude-sonnet-4-6", 1, 28, 0, 36, "0.000624", "escalated"),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the demo's runs are kept in."""
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def output(records: Path) -> list[str]:
    """The lines that the demo prints to a pipe."""
    meddling = ("PYTHON", "OTEL_", "FORCE_COLOR", "COLUMNS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(meddling)}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "OTEL_HARN_STEPS_RECORDS": str(records)}
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        env=environment, capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout.splitlines()


def rows_below(heading: str, output: list[str]) -> list[list[str]]:
    """The cells of the table below a heading."""
    lines = output[output.index(next(line for line in output if line.strip() == heading)) + 1 :]
    table = [re.split(r"\s{2,}", line.strip()) for line in takewhile(lambda line: line.startswith(" "), lines)]
    return [row for row in table if len(row) > 1]


def usd(amount: Decimal) -> str:
    return "<0.000001" if 0 < amount < Decimal("0.000001") else f"{amount:.6f}"


def test_each_step_shows_the_recorded_tokens_and_their_price(output: list[str]) -> None:
    rows = rows_below("What each step spent itself", output)
    expected = {
        step: [model, str(calls), f"{tokens_in:,}", f"{cached:,}", f"{out:,}", usd(Decimal(cost)), status]
        for step, model, calls, tokens_in, cached, out, cost, status in SPENT
    }
    assert {row[0]: row[1:] for row in rows if row[0] in expected} == expected


def test_the_total_is_the_sum_of_what_the_steps_spent_themselves(output: list[str]) -> None:
    *_, total = rows_below("What each step spent itself", output)
    _, _, calls, tokens_in, cached, out, cost, _ = zip(*SPENT, strict=True)
    assert total == [
        "total",
        str(sum(calls)),
        *(f"{sum(each):,}" for each in (tokens_in, cached, out)),
        usd(sum(map(Decimal, cost), Decimal())),
    ]


@pytest.mark.parametrize(
    ("boundary", "breach"),
    [
        ("fail", "step `script` exceeded max_usd budget ($0.004430 > $0.004000)"),
        ("continue", "step `weather` exceeded max_tokens budget (10045 > 5000)"),
        ("escalate", "step `invite` exceeded max_tokens budget (64 > 50)"),
    ],
)
def test_each_boundary_decides_once(output: list[str], boundary: str, breach: str) -> None:
    rows = rows_below("Steps that ended at their budget", output)
    assert [row[-1] for row in rows if row[0] == boundary] == [breach]


def test_the_trees_show_each_call_below_its_step(output: list[str]) -> None:
    trees = takewhile(bool, output[output.index("Its traces") + 1 :])
    assert calls_by_step(list(trees)) == {
        "newsletter": ["15 in, 993 out"],
        "embed": ["4 in"],
        "digest": ["1171 in, 289 out", "1169 in (1165 cached), 224 out"],
        "ask gpt": ["13 in, 11 out"],
        "ask claude": ["50 in, 93 out"],
        "weather": ["9463 in (8320 cached), 582 out"],
        "script": ["44 in, 288 out"],
        "invite": ["28 in, 36 out"],
    }


def calls_by_step(lines: list[str]) -> dict[str, list[str]]:
    """The tokens of the call spans below each step span, in a printed tree."""
    calls: dict[str, list[str]] = {}
    open_steps: dict[int, str] = {}
    for line in lines:
        depth = len(re.match(r"\W*", line)[0]) // 4  # type: ignore[index]  # it matches every line
        name, *facts = re.split(r"\s{2,}", line[depth * 4 :])
        if name.startswith("step "):
            open_steps[depth] = name.removeprefix("step ")
        else:
            calls.setdefault(open_steps[depth - 1], []).append(facts[0])
    return calls


def test_no_line_is_wider_than_a_hundred_columns(output: list[str]) -> None:
    assert max(len(line) for line in output if not line.startswith("$ ")) <= 100  # which has a path


def test_an_agent_that_knows_nothing_of_us_is_stopped_at_its_limit(output: list[str]) -> None:
    begin = output.index("$ otel-harn-steps run --max-usd 0.002 -- python examples/plain_agent.py")
    shown = "\n".join(output[begin:])
    assert "I stop after 5 jokes:\n  run `plain_agent.py` has no room in its max_usd budget" in shown
    assert re.search(r"\(no step\) +5 +75 +0 +4,965 +\$0\.0020 +\$0\.0020", shown)
    assert "ended by its budget: max_usd, $0.0020 of $0.0020" in shown


def test_both_runs_are_kept_and_the_last_line_shows_them(output: list[str], records: Path) -> None:
    assert output[-1].endswith(f"otel-harn-steps serve --records {records}")
    with Store(records) as store:
        store.update()
        runs = {run.name: (run.spend.calls, run.breached, run.over) for run in store.runs()}
    assert runs == {"newsletter": (9, 3, None), "plain_agent.py": (5, 0, "max_usd, $0.0020 of $0.0020")}
