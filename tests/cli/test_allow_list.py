"""What may leave through `redaction.yaml` and `honeycomb.yaml`, by the list alone; the Collector itself is in tests/integration/backends/test_leaks.py."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_harn_steps import StepBudgetExceeded
from otel_harn_steps._steps.budget import LIMITS
from otel_harn_steps._steps.errors import ended_detail, loop_detail
from otel_harn_steps._telemetry import names
from otel_harn_steps._telemetry.record import CompletedStep
from otel_harn_steps.cli._collector_corpus import Corpus, content_names, secret_kinds

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent.parent
FILES = [ROOT / "collector-config" / name for name in ("redaction.yaml", "honeycomb.yaml")]


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def processors(request):
    return yaml.safe_load(request.param.read_text())["processors"]


def statements(processors, context, kind="trace"):
    """The statements on that context."""
    groups = processors["transform/allow"][f"{kind}_statements"]
    return [each for group in groups if group["context"] == context for each in group["statements"]]


def patterns(found, before):
    """The regular expressions in statements, behind `before`."""
    quoted = re.compile(re.escape(before) + r'"((?:[^"\\]|\\.)*)"')
    texts = [text for each in found for text in quoted.findall(each)]
    return [re.compile(re.sub(r"\\(.)", r"\1", text)) for text in texts]


def masked(processors, text):
    """What the processor of secrets makes of a text."""
    for pattern in processors["redaction/secrets"]["blocked_values"]:
        text = re.sub(pattern, "****", text)
    return text


def test_the_files_are_what_the_tool_makes():
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "allow_list.py", "--check"],
        env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_every_name_of_ours_passes_but_the_apps_own_text(processors):
    (kept,) = patterns(statements(processors, "span"), "keep_matching_keys(span.attributes, ")
    ours = [each.name for each in names.ATTRIBUTES] + [names.CERTAINTY, names.BUDGET_SHARE, names.TOKEN_TYPE]
    assert [each for each in ours if not kept.match(each)] == [names.STEP_DETAIL]


@pytest.mark.parametrize("prefix", ["", "harn.step."])
def test_every_field_of_a_record_passes_but_the_free_text_in_it(prefix, processors):
    kept = patterns(statements(processors, "log", "log"), "keep_matching_keys(log.attributes, ")[0]
    fields = [each.name for each in dataclasses.fields(CompletedStep)]
    assert [each for each in fields if not kept.match(prefix + each)] == ["error", "labels", "detail"]


def test_no_name_of_content_passes(processors):
    (kept,) = patterns(statements(processors, "span"), "keep_matching_keys(span.attributes, ")
    assert len(content_names()) >= 400
    assert [each for each in content_names() if kept.match(each)] == []


def test_whatever_passes_is_held_to_what_its_name_says(processors):
    """Each name that passes is ignored by all processors of values but the one that it belongs to."""
    (kept,) = patterns(statements(processors, "span"), "keep_matching_keys(span.attributes, ")
    ours = [each.name for each in names.ATTRIBUTES if kept.match(each.name)]
    others = ["harn.label.tenant", "gen_ai.usage.anything", "gen_ai.tool.name", "llm.cost.total", "service.name"]
    held = ("redaction/numbers", "redaction/words", "redaction/names")

    def ignores(name, key):
        (pattern,) = processors[name]["ignored_key_patterns"]
        return key in processors[name]["ignored_keys"] or bool(re.search(pattern, key))

    for key in ours + others:
        by = [name for name in held if not ignores(name, key)]
        assert len(by) == 1, (key, by)
    numbers = [each.name for each in names.ATTRIBUTES if each.kind in ("int", "double", "boolean")]
    assert [key for key in numbers if ignores("redaction/numbers", key)] == []  # so only numbers pass under them


@pytest.mark.parametrize("kind", secret_kinds())
def test_a_secret_is_masked_wherever_it_stands_in_a_text(kind, processors):
    assert len(secret_kinds()) >= 40
    corpus = Corpus()
    for text in ("{}", "mail {}", "({})", "ask {} for it", '["{}"]', "key:{}"):
        secret = corpus._secret(kind, "here")
        assert corpus.found_in(masked(processors, text.format(secret))) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "chat gpt-5", "step plan", "step ask claude", "newsletter/ask claude/plan", "claude-sonnet-4-5-20250929", "chatcmpl-BxT3kq9Z1vQe7",
        "msg_01XFDUDYJgAACzvnptvVoYEL", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "projects/p-1/locations/us-central1/publishers/google/models/gemini-2.5-pro", "accounts/fireworks/models/llama-v3p1-70b", "0f8fad5b-d9cb-469f-a165-70867728950e",
        "openai.RateLimitError", "notified:0.5", "would have stopped:max_usd", "genai-prices 0.0.31", "2026-11-27T03:00:00Z", "1795000000000000000", "raised:max_tokens=2000",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_not_masked(text, processors):
    assert masked(processors, text) == text


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("chat gpt-5", True), ("step plan", True), ("step ask claude", True), ("step write the first draft", True), ("step résumé", True), ("step 下書き", True),
        ("anthropic.messages.create", True), ("agent run", True), ("running 2 tools", True), ("execute_tool get_weather", True), ("invoke_agent Research Agent", True),
        ("GET", True), ("embeddings text-embedding-3-small", True), ("LangGraph", True), ("step mail ****", True),
        ("step tell me all about the patient", False), ("chat who are you", False), ("GET /search?q=how+to+bury", False), ("how do I bury a body", False),
        ("POST https://api.openai.com/v1/chat", False), ("SELECT name FROM patients", False), ("", False),
    ],
)  # fmt: skip
def test_the_name_of_a_span_is_known_by_its_look(name, is_known, processors):
    found = [each for each in statements(processors, "span") if each.startswith("set(span.name")]
    (known, _) = patterns(found, "IsMatch(span.name, ")
    assert bool(known.search(name)) == is_known


def kept_sentences(processors):
    (pattern,) = patterns(
        [each for each in statements(processors, "span") if each.startswith("set(span.status.message")],
        "IsMatch(span.status.message, ",
    )
    return pattern


@pytest.mark.parametrize("sentence", [loop_detail("draft", 3), ended_detail("nightly", "max_usd")])
def test_our_other_sentences_about_a_budget_pass(sentence, processors):
    assert kept_sentences(processors).search(masked(processors, sentence))


@pytest.mark.parametrize("budget_of", ["step", "run", "agent"])
@pytest.mark.parametrize("projected_tokens", [None, 900], ids=["crossed", "no-room"])
@pytest.mark.parametrize("limit", [each for each in LIMITS if each != "loop"])
def test_our_sentences_about_a_budget_pass(limit, projected_tokens, budget_of, processors):
    error = StepBudgetExceeded(
        step="draft",
        function="draft",
        limit=limit,
        limit_value=0.5,
        consumed_tokens=900,
        consumed_cost_usd=0.75,
        consumed=1.25,
        projected_tokens=projected_tokens,
        budget_of=budget_of,
    )
    assert kept_sentences(processors).search(masked(processors, str(error)))


def test_a_prompt_in_the_place_of_a_name_in_our_sentence_does_not_pass(processors):
    text = "step `tell me all about the patient` exceeded max_usd budget ($2 > $1)"
    assert not kept_sentences(processors).search(text)
