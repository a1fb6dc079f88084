"""What `growth` makes of a counter's life, as promtool computes it on series that are written down."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from otel_harn_steps.dashboard._languages import BREACHES, CALLS, COST, RUNS, UNSEEN, growth
from tests.integration.backends.programs import CONFIGS

pytestmark = pytest.mark.backends

MINUTE = "1m"


@pytest.fixture
def promtool(prometheus_binary, tmp_path):
    def check(values, window, minute, expected, query=None):
        """Assert that a counter with these values, one a minute, has grown by `expected` in the window that ends at `minute`."""
        test = {
            "evaluation_interval": MINUTE,
            "tests": [
                {
                    "interval": MINUTE,
                    "input_series": [{"series": f'{COST}{{job="agent"}}', "values": values}],
                    "promql_expr_test": [
                        {
                            "expr": f"sum({query or growth(COST, window)})",
                            "eval_time": f"{minute}m",
                            "exp_samples": [] if expected is None else [{"labels": "{}", "value": expected}],
                        }
                    ],
                }
            ],
        }
        file = tmp_path / "test.json"
        file.write_text(json.dumps(test))
        ran = subprocess.run(
            [prometheus_binary.with_name("promtool"), "test", "rules", str(file)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr

    return check


def test_the_first_value_of_a_new_series_counts(promtool):
    promtool("_x30 0.4x10", "20m", 40, 0.4)


def test_increase_would_lose_that_value(promtool):
    promtool("_x30 0.4x10", "20m", 40, 0, query=f"increase({COST}[20m])")


def test_a_single_scrape_is_enough(promtool):
    promtool("_x30 0.4", "20m", 40, 0.4)


def test_what_was_spent_before_the_window_does_not_count(promtool):
    promtool("2x20 2.5x40", "50m", 60, 0.5)
    promtool("2x60", "30m", 60, 0)


def test_growth_is_exact_where_increase_extrapolates(promtool):
    promtool("0 0.25x7", "5m", 5, 0.25)
    promtool("_x3 1 2 3", "1h", 6, 3)


def test_adjoining_windows_add_up(promtool):
    values = "_x3 0.5 0.5 0.75 0.75 0.75 1.75x5"
    for end, expected in ((2, None), (4, 0.5), (6, 0.25), (8, 1), (10, 0)):
        promtool(values, "2m", end, expected)
    promtool(values, "10m", 10, 1.75)


def test_an_app_that_has_ended_still_counts(promtool):
    promtool("_x5 0.1 0.3 stale _x50", "1h", 58, 0.3)


def test_a_quiet_hour_or_a_prometheus_that_was_away_repeats_nothing(promtool):
    promtool("7x20 _x200 7.5x10", "10m", 230, 0.5)


def test_a_restart_in_the_window_is_seen(promtool):
    # 1.2 before, 0.8 after; `increase` takes over and extrapolates a little.
    promtool("0x10 0.4 0.8 1.2x10 0.2 0.8x20", "45m", 44, 2, query=f"round({growth(COST, '45m')}, 0.1)")


def test_a_restart_between_two_windows_is_seen(promtool):
    promtool("5x10 _x5 0.3x10", "4m", 17, 0.3)


def test_the_rules_measure_growth_the_same_way():
    rules = re.sub(r"\s+", " ", (CONFIGS / "rules.yml").read_text())
    for metric, window in ((COST, "1h"), (CALLS, "15m"), (RUNS, "15m"), (BREACHES, "15m"), (UNSEEN, "15m")):
        assert f"( {growth(metric, window)} )" in rules
