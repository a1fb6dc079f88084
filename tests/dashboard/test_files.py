"""The files that are shipped: they are what the panel table says, and what Grafana and Honeycomb accept."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otel_harn_steps._telemetry import names
from otel_harn_steps.dashboard import grafana, honeycomb
from otel_harn_steps.dashboard._panels import PANELS, TENANT, VARIABLES, growth

ROOT = Path(__file__).resolve().parent.parent.parent
GRAFANA = json.loads(grafana.FILE.read_text())
HONEYCOMB = json.loads(honeycomb.FILE.read_text())
# Grafana's own, https://grafana.com/docs/grafana/latest/dashboards/variables/add-template-variables/#global-variables
OF_GRAFANA = {"__range", "__range_s", "__interval"}


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


def test_the_panels_are_the_same_twelve_in_both():
    assert [panel["title"] for panel in GRAFANA["panels"]] == [panel["title"] for panel in HONEYCOMB["panels"]]
    assert len({panel.title for panel in PANELS}) == 12


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
    assert [panel["id"] for panel in GRAFANA["panels"]] == list(range(1, 13))
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    targets = [target for panel in GRAFANA["panels"] for target in panel["targets"]]
    assert all(each["datasource"] == chosen for each in (*GRAFANA["panels"], *targets))


def test_the_queries_use_the_variables_that_the_dashboard_has():
    declared = {variable["name"] for variable in GRAFANA["templating"]["list"]}
    assert declared == {"datasource", *(each.name for each in VARIABLES)}
    expressions = [target["expr"] for panel in GRAFANA["panels"] for target in panel["targets"]]
    used = {name for each in expressions for name in re.findall(r"\$(\w+)", each)}
    assert used == (declared - {"datasource"}) | OF_GRAFANA


def test_honeycomb_is_asked_for_attributes_that_step_spans_have():
    on_step_spans = {each.name for each in names.ATTRIBUTES if each.when != "call"} | {"duration_ms", TENANT}
    for panel in HONEYCOMB["panels"]:
        query = panel["query"]
        made = {field["name"] for field in query.get("calculated_fields", ())}
        asked = {each["column"] for each in (*query["calculations"], *query["filters"]) if "column" in each}
        assert (asked | set(query["breakdowns"])) - made <= on_step_spans, panel["title"]
        for field in query.get("calculated_fields", ()):
            assert set(re.findall(r"\$([\w.]+)", field["expression"])) <= on_step_spans


def test_honeycomb_queries_keep_its_rules():
    for panel in HONEYCOMB["panels"]:
        query = panel["query"]
        # Call spans have a step's name too. Only steps have a status.
        assert {"column": "harn.step.status", "op": "exists"} in query["filters"]
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


def test_printing_the_grafana_dashboard_needs_no_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk", None)
    assert grafana.main([]) == 0
    assert json.loads(capsys.readouterr().out) == GRAFANA


def test_the_files_are_made_anew_as_they_are(tmp_path, monkeypatch):
    pytest.importorskip("grafana_foundation_sdk", reason="needs the extra `dashboards`")
    for module in (grafana, honeycomb):
        shipped = module.FILE.read_text()
        monkeypatch.setattr(module, "FILE", tmp_path / module.FILE.name)
        assert module.main(["--write"]) == 0
        assert module.FILE.read_text() == shipped
