"""The logs of Claude Code: each session a run, each sub-agent a step within it, each answer one call."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from otel_harn_steps import price
from otel_harn_steps.store import Store
from otel_harn_steps.store._retention import remove_old_runs
from otel_harn_steps.store.imports import import_files
from tests.store.imports.sources import (
    SESSION,
    WORDS,
    answer,
    asked,
    everything,
    imported,
    indexed,
    paths_and_calls,
    write_lines,
)

MODEL = "claude-haiku-4-5-20251001"
FILES = Path(__file__).parent / "files" / "claude-code"


@pytest.fixture
def project(tmp_path):
    return tmp_path / "projects" / "-home-me-shop"


@pytest.fixture
def log(project):
    return project / f"{SESSION}.jsonl"


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


def sub_agent(agent, **fields):
    return {"isSidechain": True, "agentId": agent, **fields}


def test_a_session_is_a_run_with_its_sub_agents_as_steps_within_it(records):
    report, summary = imported("claude-code", FILES, records)

    assert (report.new, report.damaged_lines) == (1, 0)
    assert paths_and_calls(summary) == [
        ("claude-code", 2),
        ("claude-code/Explore", 1),
        ("claude-code/Explore/general-purpose", 1),
    ]
    with Store(records) as store:
        store.update()
        (run,) = store.runs()
        detail = store.run(run.run_id)
    assert (run.program, run.name, run.source, run.status) == ("claude-code", "shop", "claude-code", "ended")
    assert (run.ended_at - run.started_at) // 10**9 == 61
    assert [(step.name, step.status, step.total.calls) for step in detail.steps] == [
        ("claude-code", "completed", 4),
        ("Explore", "completed", 2),
        ("general-purpose", "completed", 1),
    ]
    assert detail.calls[0].labels == {"project": "shop", "branch": "main", "version": "2.1.190"}
    assert {call.certainty for call in detail.calls} == {"observed"}


def test_an_answer_of_several_lines_is_one_call_with_the_most_tokens(log, records):
    write_lines(
        log, [asked(), answer("msg_1", "12:00:01.5", 1), answer("msg_1", "12:00:02", 40), answer("msg_1", output=1)]
    )

    _, summary = imported("claude-code", log, records)

    assert (summary.total.calls, summary.total.output_tokens) == (1, 40)


def test_lines_of_an_answer_without_a_request_are_one_call(log, records):
    write_lines(log, [answer("msg_1", requestId=None), answer("msg_1", requestId="req_1")])

    assert imported("claude-code", log, records)[1].total.calls == 1


def test_answers_of_other_servers_are_told_apart_by_their_requests(log, records):
    write_lines(log, [answer("1", requestId="a"), answer("1", requestId="a"), answer("1", requestId="b")])

    assert imported("claude-code", log, records)[1].total.calls == 2


def test_the_input_includes_what_was_read_from_and_written_to_caches(log, records):
    write_lines(log, [answer("msg_1")])

    _, summary = imported("claude-code", log, records)

    total = summary.total
    assert (total.input_tokens, total.cache_read_tokens, total.cache_write_tokens) == (9503, 9000, 500)
    paid = price(
        MODEL, provider="anthropic", input_tokens=9503, output_tokens=40, cache_read_tokens=9000, cache_write_tokens=500
    )
    assert total.cost_picousd == paid * 10**12


def test_what_is_kept_for_an_hour_costs_more(log, records):
    long = {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 500}}
    write_lines(log, [answer("msg_1", usage=long)])

    _, summary = imported("claude-code", log, records)

    paid = price(
        MODEL, provider="anthropic", input_tokens=9503, output_tokens=40, cache_read_tokens=9000, cache_write_tokens=500,
        cache_write_1h_tokens=500,
    )  # fmt: skip
    assert summary.total.cost_picousd == paid * 10**12


def test_a_model_that_advises_is_a_call_of_its_own(log, records):
    advice = {"type": "advisor_message", "model": "claude-opus-4-5", "input_tokens": 10, "output_tokens": 5}
    write_lines(log, [answer("msg_1", usage={"iterations": [advice]})])

    _, summary = imported("claude-code", log, records)

    assert sorted(model for _, model in summary.models) == [MODEL, "claude-opus-4-5"]


def test_what_a_sub_agent_repeats_of_the_session_is_the_sessions(project, log, records):
    write_lines(log, [answer("msg_1")])
    repeated = answer("msg_1", "12:00:00.000", 1, requestId="another", **sub_agent("a1"))
    write_lines(project / SESSION / "subagents" / "agent-a1.jsonl", [repeated, answer("msg_2", **sub_agent("a1"))])

    _, summary = imported("claude-code", project, records)

    assert paths_and_calls(summary) == [("claude-code", 1), ("claude-code/sub-agent", 1)]


def test_what_a_session_repeats_of_a_sub_agent_is_the_sub_agents(project, log, records):
    told = {"type": "agent_progress", "agentId": "a1", "message": answer("msg_2", **sub_agent("a1"))}
    progress = asked(type="progress", data=told, parentToolUseID="toolu_1")
    write_lines(log, [answer("msg_1", tools=[("toolu_1", "Plan")]), progress])
    write_lines(project / SESSION / "subagents" / "agent-a1.jsonl", [answer("msg_2", **sub_agent("a1"))])

    _, summary = imported("claude-code", project, records)

    assert paths_and_calls(summary) == [("claude-code", 1), ("claude-code/Plan", 1)]


def test_logs_of_sub_agents_next_to_the_session(project, log, records):
    done = asked(
        "12:00:30",
        toolUseResult={"agentId": "a1"},
        message={"content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]},
    )
    write_lines(log, [answer("msg_1", tools=[("toolu_1", "Explore")]), done])
    agents = write_lines(project / "agent-a1.jsonl", [answer("msg_2", **sub_agent("a1"))])
    write_lines(project / "agent-b1.jsonl", [answer("msg_3", sessionId="another", **sub_agent("b1"))])

    _, summary = imported("claude-code", agents, records)

    assert paths_and_calls(summary) == [("claude-code", 1), ("claude-code/Explore", 1)]


def test_sub_agents_in_the_sessions_own_file(log, records):
    first = answer("msg_2", isSidechain=True, uuid="u1", parentUuid=None)
    second = answer("msg_3", isSidechain=True, uuid="u2", parentUuid="u1")
    other = answer("msg_4", isSidechain=True, uuid="u3", parentUuid=None)
    write_lines(log, [answer("msg_1", uuid="u0"), first, second, other])

    imported("claude-code", log, records)

    with Store(records) as store:
        store.update()
        found = [(step.path, step.own.calls) for step in store.step_runs()]
    assert sorted(found) == [("claude-code", 1), ("claude-code/sub-agent", 1), ("claude-code/sub-agent", 2)]


def test_a_sub_agent_that_is_said_to_have_started_itself_is_within_the_session(project, log, records):
    write_lines(log, [answer("msg_1")])
    below = project / SESSION / "subagents"
    write_lines(below / "agent-a1.jsonl", [answer("msg_2", tools=[("toolu_1", "Plan")], **sub_agent("a1"))])
    (below / "agent-a1.meta.json").write_text(json.dumps({"agentType": "Plan", "toolUseId": "toolu_1"}))

    _, summary = imported("claude-code", project, records)

    assert paths_and_calls(summary) == [("claude-code", 1), ("claude-code/Plan", 1)]


def test_messages_that_the_program_has_written_itself_are_no_calls(log, records):
    write_lines(log, [answer("msg_1", model="<synthetic>"), asked(), {"type": "summary", "sessionId": SESSION}])

    report, summary = imported("claude-code", log, records)

    assert (report.new, report.calls, summary.total.calls) == (0, 0, 0)


def test_a_price_that_is_not_known_stays_unknown(log, records):
    write_lines(log, [answer("msg_1", model="glm-99")])

    report, summary = imported("claude-code", log, records)

    assert (report.unpriced, summary.total.cost_usd, summary.total.unpriced_calls) == ({"glm-99"}, None, 1)


@pytest.mark.parametrize(("start", "provider"), [("msg_bdrk_", "aws.bedrock"), ("msg_vrtx_", "gcp.vertex_ai")])
def test_who_bills_is_what_the_id_says(log, records, start, provider):
    write_lines(log, [answer(f"{start}1")])

    assert imported("claude-code", log, records)[1].models.keys() == {(provider, MODEL)}


def test_nothing_that_was_said_is_written(records):
    imported("claude-code", FILES, records)

    assert WORDS in "".join(path.read_text(encoding="utf-8") for path in FILES.rglob("*.jsonl"))
    assert WORDS not in everything(records)
    assert "/home/me" not in everything(records)


def test_importing_twice_changes_nothing(records):
    import_files("claude-code", [FILES], records)
    before = {path.name: path.stat().st_mtime_ns for path in records.iterdir()}

    report = import_files("claude-code", [FILES], records)

    assert (report.new, report.changed, report.same) == (0, 0, 1)
    assert {path.name: path.stat().st_mtime_ns for path in records.iterdir()} == before


def test_a_session_that_has_grown_takes_the_place_of_what_was_there(log, records):
    write_lines(log, [answer("msg_1", output=1)])
    import_files("claude-code", [log], records)
    assert indexed(records).calls == 1
    write_lines(log, [answer("msg_1", output=1), answer("msg_1", output=40), answer("msg_2", "12:01:00")])

    report, summary = imported("claude-code", log, records)

    assert (report.new, report.changed) == (0, 1)
    assert len(list(records.glob("*.jsonl"))) == 1
    assert (summary.total.calls, summary.total.output_tokens) == (2, 80)
    assert indexed(records).to_dict() == summary.total.to_dict()
    with Store(records) as store:
        store.update()
        assert [(run.name, run.source, run.spend.calls) for run in store.runs()] == [("shop", "claude-code", 2)]


def test_a_session_that_has_lost_lines_is_left_as_it_was(log, records):
    write_lines(log, [answer("msg_1"), answer("msg_2")])
    import_files("claude-code", [log], records)
    write_lines(log, [answer("msg_2")])

    report, summary = imported("claude-code", log, records)

    assert (report.changed, len(report.less), summary.total.calls) == (0, 1, 2)


def test_what_two_sessions_share_is_counted_once(project, records):
    write_lines(project / "one.jsonl", [answer("msg_1", sessionId="one")])
    write_lines(project / "two.jsonl", [answer("msg_1", sessionId="two"), answer("msg_2", sessionId="two")])

    imported("claude-code", project / "two.jsonl", records)
    assert indexed(records).calls == 2
    report, summary = imported("claude-code", project, records)

    assert (report.new, report.changed) == (1, 1)
    assert summary.total.calls == indexed(records).calls == 2
    assert import_files("claude-code", [project], records).same == 2
    assert import_files("claude-code", [project / "two.jsonl"], records).same == 1


def test_of_what_two_sessions_share_the_one_that_is_there_keeps_it(project, records):
    write_lines(project / "one.jsonl", [answer("msg_1", sessionId="one")])
    imported("claude-code", write_lines(project / "two.jsonl", [answer("msg_1", "13:00:00", sessionId="two")]), records)
    imported("claude-code", project / "one.jsonl", records)

    with Store(records) as store:
        store.update()
        assert sorted(run.spend.calls for run in store.runs()) == [0, 1]


def test_a_session_in_two_folders_is_one_run(project, tmp_path, records):
    write_lines(project / f"{SESSION}.jsonl", [answer("msg_1")])
    write_lines(tmp_path / "projects" / "-moved" / f"{SESSION}.jsonl", [answer("msg_1"), answer("msg_2")])

    report, summary = imported("claude-code", tmp_path / "projects", records)

    assert (report.new, summary.total.calls) == (1, 2)


def test_a_damaged_line_is_named_and_the_rest_is_read(log, records):
    write_lines(log, [answer("msg_1"), '{"type": "assist', "[]", answer("msg_2"), '{"a":' * 100_000])

    report, summary = imported("claude-code", log, records)

    assert [(each.path, each.line, each.reason) for each in report.damaged] == [
        (log, 2, "is no JSON"),
        (log, 3, "is no JSON object"),
        (log, 5, "is no JSON"),
    ]
    assert summary.total.calls == 2


def test_odd_values_are_passed_over(log, records):
    odd = [
        answer("msg_1", message=None), answer("msg_2", message={"usage": 5}), answer("msg_3", timestamp=7),
        answer("msg_4", timestamp="yesterday"), answer("msg_5", usage={"output_tokens": "many"}), answer(None, cwd=5),
        answer("msg_6", toolUseResult="text", isSidechain="yes"), answer("msg_7", message=answer("msg_7")["message"] | {"content": [5]}),
    ]  # fmt: skip
    write_lines(log, odd)

    report, summary = imported("claude-code", log, records)

    assert report.damaged_lines == 0
    assert summary.total.calls == 4
    assert indexed(records).calls == 4


def test_what_was_imported_is_kept_as_long_as_other_runs(records):
    imported("claude-code", FILES, records)
    long_ago = 1_700_000_000
    for path in records.iterdir():
        os.utime(path, (long_ago, long_ago))

    assert len(remove_old_runs(records)) == 1
    assert list(records.iterdir()) == []


def test_what_is_written_is_for_its_owner_alone(records):
    imported("claude-code", FILES, records)

    assert stat.S_IMODE(records.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in records.iterdir()} == {0o600}
