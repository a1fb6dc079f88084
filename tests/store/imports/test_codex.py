"""The rollouts of Codex: each thread a run, each sub-agent a step within it, each request one call."""

from __future__ import annotations

from pathlib import Path

import pytest

from otel_harn_steps import price
from otel_harn_steps.store import Store
from otel_harn_steps.store.imports import import_files
from tests.store.imports.sources import (
    WORDS,
    codex_line,
    everything,
    imported,
    indexed,
    meta,
    paths_and_calls,
    tokens,
    turn,
    used,
    write_lines,
)

FILES = Path(__file__).parent / "files" / "codex"
FIRST, SECOND, THIRD = used(1000, 100, 400, 60), used(3200, 200, 1400, 60), used(3700, 220, 1400, 60)
FIRST_TWO = [
    tokens("10:00:05.000", FIRST, FIRST),
    tokens("10:00:15.000", SECOND, used(2200, 100, 1000)),
]
COPIED = [
    tokens("10:00:20.010", FIRST, FIRST),
    tokens("10:00:20.020", SECOND, used(2200, 100, 1000)),
]
OWN = tokens("10:00:30.000", THIRD, used(500, 20))


def sub_agent(parent, role="explorer"):
    return {"subagent": {"thread_spawn": {"parent_thread_id": parent, "depth": 1, "agent_role": role}}}


@pytest.fixture
def rollout(tmp_path):
    def write(name, *lines):
        return write_lines(tmp_path / "sessions" / f"rollout-{name}.jsonl", lines)

    return write


@pytest.fixture
def sessions(tmp_path):
    return tmp_path / "sessions"


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


def test_a_thread_is_a_run_with_its_sub_agents_as_steps_within_it(records):
    report, summary = imported("codex", FILES, records)

    assert (report.new, report.damaged_lines) == (1, 0)
    assert paths_and_calls(summary) == [("codex", 2), ("codex/explorer", 1)]
    assert {model: spend.calls for (_, model), spend in summary.models.items()} == {
        "gpt-5-2025-08-07": 2,
        "gpt-5-mini-2025-08-07": 1,
    }
    with Store(records) as store:
        store.update()
        (run,) = store.runs()
        detail = store.run(run.run_id)
    assert (run.program, run.name, run.source, run.status) == ("codex", "shop", "codex", "ended")
    assert [(step.name, step.total.calls) for step in detail.steps] == [("codex", 3), ("explorer", 1)]
    assert detail.calls[0].labels == {"project": "shop", "branch": "main", "version": "0.145.0"}


def test_cached_tokens_are_a_part_of_the_input_and_reasoning_of_the_output(rollout, records):
    path = rollout("a", meta("a"), turn("gpt-5-2025-08-07"), FIRST_TWO[0])

    _, summary = imported("codex", path, records)

    total = summary.total
    assert (total.input_tokens, total.cache_read_tokens, total.output_tokens, total.reasoning_tokens) == (
        1000,
        400,
        100,
        60,
    )
    paid = price("gpt-5-2025-08-07", provider="openai", input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    assert total.cost_picousd == paid * 10**12


def test_what_is_told_again_is_no_new_request(rollout, records):
    again = tokens("10:00:05.300", FIRST, FIRST)
    path = rollout("a", meta("a"), turn(), FIRST_TWO[0], again, again, FIRST_TWO[1])

    _, summary = imported("codex", path, records)

    assert (summary.total.calls, summary.total.input_tokens) == (2, 3200)


def test_where_only_totals_are_told_a_request_is_their_difference(rollout, records):
    path = rollout("a", meta("a"), turn(), tokens("10:00:05", FIRST, None), tokens("10:00:15", SECOND, None))

    _, summary = imported("codex", path, records)

    assert (summary.total.calls, summary.total.input_tokens, summary.total.cache_read_tokens) == (2, 3200, 1400)


def test_what_is_not_told_is_no_request(rollout, records):
    limits = codex_line("10:00:02", "event_msg", {"type": "token_count", "info": None, "rate_limits": {}})

    report, _ = imported(
        "codex", rollout("a", meta("a"), turn(), limits, tokens("10:00:03", used(0, 0), used(0, 0))), records
    )

    assert (report.new, report.calls) == (0, 0)


def test_the_copy_that_a_fork_begins_with_is_not_counted(rollout, sessions, records):
    rollout("a", meta("a"), turn(), *FIRST_TWO)
    rollout("b", meta("b", forked_from_id="a"), meta("a"), turn(), *COPIED, OWN)

    _, summary = imported("codex", sessions, records)

    assert (summary.total.calls, summary.total.input_tokens) == (3, 3700)
    with Store(records) as store:
        store.update()
        assert sorted(run.spend.calls for run in store.runs()) == [1, 2]


def test_a_copy_is_known_by_its_times_where_the_other_thread_is_not_there(rollout, records):
    path = rollout("b", meta("b", source=sub_agent("a")), turn(), *COPIED, OWN)

    _, summary = imported("codex", path, records)

    assert paths_and_calls(summary) == [("codex", 0), ("codex/explorer", 1)]


def test_a_sub_agent_that_begins_with_its_own_requests_keeps_them(rollout, sessions, records):
    rollout("a", meta("a"), turn(), *FIRST_TWO)
    own = used(700, 10)
    rollout(
        "b",
        meta("b", source=sub_agent("a")),
        turn(),
        tokens("10:00:22", own, own),
        tokens("10:00:29", used(1500, 20), used(800, 10)),
    )

    _, summary = imported("codex", sessions, records)

    assert paths_and_calls(summary) == [("codex", 2), ("codex/explorer", 2)]


def test_sub_agents_of_sub_agents(rollout, sessions, records):
    rollout("a", meta("a"), turn(), *FIRST_TWO)
    for name, parent in (("b", "a"), ("c", "b")):
        own = used(700, ord(name))
        rollout(name, meta(name, source=sub_agent(parent, f"role {name}")), turn(), tokens("10:00:22", own, own))

    _, summary = imported("codex", sessions, records)

    assert paths_and_calls(summary) == [("codex", 2), ("codex/role b", 1), ("codex/role b/role c", 1)]


def test_the_thread_around_a_sub_agent_takes_it_in_when_it_is_imported(rollout, sessions, records):
    child = rollout("b", meta("b", source=sub_agent("a")), turn(), OWN)
    grandchild = rollout("c", meta("c", source=sub_agent("b")), turn(), tokens("10:00:40", used(9, 9), used(9, 9)))
    import_files("codex", [grandchild], records)
    import_files("codex", [child], records)
    rollout("a", meta("a"), turn(), *FIRST_TWO)

    _, summary = imported("codex", sessions, records)

    assert paths_and_calls(summary) == [("codex", 2), ("codex/explorer", 1), ("codex/explorer/explorer", 1)]
    assert indexed(records).calls == 4
    assert len(list(records.glob("*.jsonl"))) == len(list(records.glob("*.run.json"))) == 1


def test_a_part_of_a_run_does_not_take_the_place_of_the_whole(rollout, sessions, records):
    rollout("a", meta("a"), turn(), *FIRST_TWO)
    child = rollout("b", meta("b", source=sub_agent("a")), turn(), OWN)
    import_files("codex", [sessions], records)

    report, summary = imported("codex", child, records)

    assert (len(report.less), summary.total.calls) == (1, 3)


def test_a_thread_that_says_it_was_forked_off_itself(rollout, records):
    path = rollout("a", meta("a", source=sub_agent("a"), forked_from_id="a"), turn(), *FIRST_TWO)

    assert imported("codex", path, records)[1].total.calls == 2


def test_the_service_tier_decides_the_price(rollout, records):
    tier = codex_line(
        "10:00:02", "event_msg", {"type": "thread_settings_applied", "thread_settings": {"service_tier": "fast"}}
    )
    asked = used(1000, 100)
    lines = [meta("a"), turn("gpt-5"), tier, tokens("10:00:05", asked, asked)]
    path = rollout("a", *(line | {"timestamp": line["timestamp"].replace("-05-", "-11-")} for line in lines))

    _, summary = imported("codex", path, records)

    paid = price("gpt-5", provider="openai", input_tokens=1000, output_tokens=100, service_tier="priority")
    assert summary.total.cost_picousd == paid * 10**12


def test_a_history_that_was_made_shorter_elsewhere_is_a_request(rollout, records):
    made = {"response_id": "r1", "usage": used(5000, 300), "thread_token_usage": used(9999, 9)}
    told = {"response_id": "r2", "usage": FIRST, "thread_token_usage": FIRST}
    path = rollout(
        "a", meta("a"), turn(),
        codex_line("10:00:04", "token_usage_record", told), FIRST_TWO[0],
        codex_line("10:00:06", "compacted", {"message": WORDS, "compaction_response_id": "r2"}),
        codex_line("10:00:08", "token_usage_record", made),
        codex_line("10:00:09", "compacted", {"message": WORDS, "compaction_response_id": "r1"}),
    )  # fmt: skip

    _, summary = imported("codex", path, records)

    assert (summary.total.calls, summary.total.input_tokens) == (2, 6000)


def test_a_thread_that_names_no_model_has_no_price(rollout, records):
    _, summary = imported("codex", rollout("a", meta("a"), *FIRST_TWO), records)

    assert (summary.total.cost_usd, summary.total.unpriced_calls, list(summary.models)) == (None, 2, [("openai", None)])


def test_a_thread_that_has_grown_takes_the_place_of_what_was_there(rollout, records):
    import_files("codex", [rollout("a", meta("a"), turn(), FIRST_TWO[0])], records)

    report, summary = imported("codex", rollout("a", meta("a"), turn(), *FIRST_TWO), records)

    assert (report.changed, report.new, summary.total.calls) == (1, 0, 2)
    assert import_files("codex", [records.parent / "sessions"], records).same == 1


def test_nothing_that_was_said_is_written(records):
    imported("codex", FILES, records)

    assert WORDS in "".join(path.read_text(encoding="utf-8") for path in FILES.rglob("*.jsonl"))
    assert WORDS not in everything(records)
    assert "/home/me" not in everything(records)


def test_odd_values_are_passed_over(rollout, records):
    odd = [
        codex_line("10:00:02", "event_msg", {"type": "token_count", "info": 5}),
        codex_line(
            "10:00:03", "event_msg", {"type": "token_count", "info": {"last_token_usage": {"input_tokens": "x"}}}
        ),
        codex_line("10:00:03", "session_meta", {"id": 5, "source": {"subagent": 7}, "git": None}),
        {"timestamp": None, "type": "turn_context", "payload": {"model": 5}},
        {"timestamp": "2026-05-01T10:00:04Z", "type": "event_msg", "payload": None},
        codex_line("10:00:05", "turn_context", {"model": {"name": "x"}}),
    ]

    report, summary = imported("codex", rollout("a", *odd, *FIRST_TWO), records)

    assert (report.damaged_lines, summary.total.calls, indexed(records).calls) == (0, 2, 2)
