"""The files that are shipped: they are what the panel table says, and what Grafana and Honeycomb accept."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from otel_harn_steps._telemetry import names
from otel_harn_steps.dashboard import grafana, honeycomb, victoriametrics
from otel_harn_steps.dashboard._languages import TENANT, VARIABLES, growth
from otel_harn_steps.dashboard._panels import PANELS

ROOT = Path(__file__).resolve().parent.parent.parent
GRAFANA = json.loads(grafana.FILE.read_text())
HONEYCOMB = json.loads(honeycomb.FILE.read_text())
VICTORIAMETRICS = json.loads(victoriametrics.FILE.read_text())
STEP_SPANS = {"column": "harn.step.status", "op": "exists"}
# Grafana's own, https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables
OF_GRAFANA = {"__range", "__range_s", "__interval", "__interval_ms"}


def test_the_grafana_file_is_what_the_table_says():
    pytest.importorskip("grafana_foundation_sdk", reason="needs the extra `dashboards`")
    assert grafana.dashboard() == GRAFANA


def test_the_grafana_file_survives_a_round_trip_through_grafanas_models():
    pytest.importorskip("grafana_foundation_sdk", reason="needs the extra `dashboards`")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    again = json.loads(JSONEncoder().encode(Dashboard.from_json(GRAFANA)))
    for variable in again["templating"]["list"]:
        for surplus in ("auto", "auto_min", "auto_count"):
            variable.pop(surplus, None)
    assert again == GRAFANA


@pytest.mark.slow
def test_the_grafana_file_fits_grafanas_own_types(tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, which gets @grafana/schema and tsc")

    def run(*command):
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    (tmp_path / "package.json").write_text("{}")
    packages = ("@grafana/schema@13.2.3", "typescript@5.9.3")
    code, said = run(npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages)
    assert code == 0, said

    def fits(document):
        literal = re.sub(r"^", "  ", json.dumps(document, indent=2), flags=re.MULTILINE)
        (tmp_path / "check.ts").write_text(
            'import type { Dashboard } from "@grafana/schema";\n'
            "// A literal's words are wider than an enum's: the shape is checked, and every key.\n"
            "type Loose<T> = T extends string ? string : T extends number ? number : T extends boolean ? boolean\n"
            "  : T extends (infer E)[] ? Loose<E>[] : T extends object ? { [K in keyof T]: Loose<T[K]> } : T;\n"
            f"export const dashboard: Loose<Dashboard> = {literal.strip()};\n"
        )
        return run(
            str(tmp_path / "node_modules" / ".bin" / "tsc"),
            "--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext", "check.ts",
        )  # fmt: skip

    assert fits(GRAFANA) == (0, "")
    # It would have seen a word that Grafana does not know.
    first, *others = GRAFANA["panels"]
    code, said = fits({**GRAFANA, "panels": [{**first, "titel": "misspelt"}, *others]})
    assert code != 0
    assert "titel" in said


def test_the_panels_are_the_same_twenty_everywhere():
    titles = [panel.title for panel in PANELS]
    assert len(set(titles)) == 20
    assert [panel["title"] for panel in GRAFANA["panels"]] == titles
    # Spans know neither unseen calls, nor how much of a budget was used, nor where numbers are from.
    unknown_to_spans = {"Unseen calls", "Budget headroom", "Estimates' share"}
    assert [panel["title"] for panel in HONEYCOMB["panels"]] == [
        each for each in titles if each not in unknown_to_spans
    ]
    (row,) = VICTORIAMETRICS["rows"]
    # A column of the table is a panel there.
    shown = dict.fromkeys(panel["title"].partition(":")[0] for panel in row["panels"])
    assert list(shown) == titles


@pytest.mark.parametrize(
    ("columns", "places"),
    [
        (24, [tuple(panel["gridPos"].get(side, 0) for side in "xywh") for panel in GRAFANA["panels"]]),
        (
            12,
            [
                tuple(panel["position"][side] for side in ("x_coordinate", "y_coordinate", "width", "height"))
                for panel in HONEYCOMB["panels"]
            ],
        ),
    ],
    ids=["grafana", "honeycomb"],
)
def test_no_panel_covers_another_or_leaves_the_page(columns, places):
    cells = [
        cell for x, y, width, height in places for cell in itertools.product(range(x, x + width), range(y, y + height))
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == columns - 1
    # No holes either.
    assert len(cells) == columns * (max(y for _, y in cells) + 1)


def test_the_grafana_panels_have_ids_and_ask_the_chosen_data_source():
    assert [panel["id"] for panel in GRAFANA["panels"]] == list(range(1, 21))
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    targets = [target for panel in GRAFANA["panels"] for target in panel["targets"]]
    assert all(each["datasource"] == chosen for each in (*GRAFANA["panels"], *targets))


def test_the_queries_use_the_variables_that_the_dashboard_has():
    declared = {variable["name"] for variable in GRAFANA["templating"]["list"]}
    assert declared == {"datasource", "traces", *(each.name for each in VARIABLES)}
    expressions = [target["expr"] for panel in GRAFANA["panels"] for target in panel["targets"]]
    used = {name for each in expressions for name in re.findall(r"\$(\w+)", each)}
    assert used == (declared - {"datasource", "traces"}) | OF_GRAFANA


def test_honeycomb_is_asked_for_attributes_that_step_spans_have():
    on_call_spans = {each.name for each in names.ATTRIBUTES if each.when == "call"} | {names.STEP_NAME}
    on_spans_of_steps = {each.name for each in names.ATTRIBUTES if each.when != "call"} | {"duration_ms", TENANT}
    for panel in HONEYCOMB["panels"]:
        query = panel["query"]
        on_step_spans = on_spans_of_steps if STEP_SPANS in query["filters"] else on_call_spans
        made = {field["name"] for field in query.get("calculated_fields", ())}
        asked = {each["column"] for each in (*query["calculations"], *query["filters"]) if "column" in each}
        assert (asked | set(query["breakdowns"])) - made <= on_step_spans, panel["title"]
        for field in query.get("calculated_fields", ()):
            assert set(re.findall(r"\$([\w.]+)", field["expression"])) <= on_step_spans


def test_honeycomb_queries_keep_its_rules():
    for panel in HONEYCOMB["panels"]:
        query = panel["query"]
        # Call spans have a step's name too. Only steps have a status, and only calls have what is theirs.
        of_calls = [each for each in query["filters"] if each["column"].startswith("harn.call.")]
        assert (STEP_SPANS in query["filters"]) != bool(of_calls)
        assert all(each["op"] == "exists" for each in of_calls)
        for order in query.get("orders", ()):
            assert {key: value for key, value in order.items() if key != "order"} in query["calculations"]
        assert query["time_range"] <= 7 * 86_400


def test_the_page_of_dashboards_lists_the_panels():
    page = (ROOT / "docs" / "dashboards.md").read_text()
    listed = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", page, re.MULTILINE)
    assert listed == [(str(number), panel.title, panel.description) for number, panel in enumerate(PANELS, 1)]


def test_the_page_of_dashboards_shows_how_growth_is_measured():
    page = (ROOT / "docs" / "dashboards.md").read_text()
    shown = page.partition("```promql\n")[2].partition("```")[0]
    assert re.sub(r"\s+", " ", shown).strip() == growth("C", "R")


def test_the_command_of_the_page_writes_the_grafana_dashboard(tmp_path):
    page = (ROOT / "docs" / "dashboards.md").read_text()
    (command,) = re.findall(r"^<!-- tested: grafana -->\n```sh\n(.*)\n```$", page, re.MULTILINE)
    program, _, file = command.partition(" > ")
    assert program.startswith("python ")
    ran = subprocess.run(
        [sys.executable, *program.split()[1:]],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    (tmp_path / file).write_bytes(ran.stdout)
    assert json.loads((tmp_path / file).read_text()) == GRAFANA


def test_printing_the_grafana_dashboard_needs_no_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)
    assert grafana.main([]) == 0
    assert json.loads(capsys.readouterr().out) == GRAFANA


def test_the_page_of_victoriametrics_is_what_the_table_says(capsys):
    assert victoriametrics.main([]) == 0
    assert json.loads(capsys.readouterr().out) == victoriametrics.dashboard() == VICTORIAMETRICS


def test_the_page_of_victoriametrics_has_queries_without_variables_and_full_rows():
    (row,) = VICTORIAMETRICS["rows"]
    for panel in row["panels"]:
        # `-vmui.customDashboardsPath`: what VictoriaMetrics reads of a panel.
        assert panel.keys() <= {"title", "description", "unit", "expr", "alias", "showLegend", "width"}
        assert len(panel["expr"]) == len(panel["alias"])
        assert not [each for each in panel["expr"] if "$" in each]
    filled = 0
    for panel in row["panels"]:
        filled += panel["width"]
        assert filled <= 12
        filled %= 12
    assert filled == 0


def test_the_table_of_steps_is_sorted_by_dollars_and_leads_to_traces():
    (table,) = [panel for panel in GRAFANA["panels"] if panel["type"] == "table"]
    assert table["options"]["sortBy"] == [{"displayName": "USD", "desc": True}]
    (links,) = [
        each["properties"] for each in table["fieldConfig"]["overrides"] if each["matcher"]["options"] == "Step"
    ]
    ((link,),) = [each["value"] for each in links]
    assert link["title"] == "Traces with this step"


def test_every_line_of_a_step_leads_to_the_traces_with_that_step():
    linked = [link for panel in GRAFANA["panels"] for link in panel["fieldConfig"]["defaults"].get("links", ())]
    assert len(linked) == len(
        [
            panel
            for panel in PANELS
            if panel.kind != "table" and any("{{harn_step_name}}" in each.legend for each in panel.series)
        ]
    )
    for link in linked:
        address = link["url"].replace("${__field.labels.harn_step_name:percentencode}", "draft%20it")
        address = address.replace("${traces}", "tempo-1").replace("${__from}", "1").replace("${__to}", "2")
        parts = urlsplit(address)
        assert parts.path == "/explore"
        (panes,) = parse_qs(parts.query)["panes"]
        (query,) = json.loads(panes)["t"]["queries"]
        assert query["query"] == '{ span.harn.step.name = "draft it" }'
        assert json.loads(panes)["t"]["range"] == {"from": "1", "to": "2"}


def test_what_should_not_be_is_coloured():
    coloured = {panel.title: panel.thresholds for panel in PANELS if panel.thresholds}
    assert {"Wasted spend", "Budget breaches", "Unseen calls", "Budget headroom"} <= coloured.keys()
    for panel in GRAFANA["panels"]:
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
        assert [each["color"] for each in steps] == [color for _, color in coloured.get(panel["title"], ())]
        assert [each["value"] for each in steps[1:]] == [value for value, _ in coloured.get(panel["title"], ())][1:]


def test_the_files_are_made_anew_as_they_are(tmp_path, monkeypatch):
    pytest.importorskip("grafana_foundation_sdk", reason="needs the extra `dashboards`")
    for module in (grafana, honeycomb, victoriametrics):
        shipped = module.FILE.read_text()
        monkeypatch.setattr(module, "FILE", tmp_path / module.FILE.name)
        assert module.main(["--write"]) == 0
        assert module.FILE.read_text() == shipped
