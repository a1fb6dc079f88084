"""What a metrics page or Prometheus says."""

from __future__ import annotations

import json
import re
import urllib.parse

from tests.integration.backends.programs import fetch, wait_for


def samples(page, name):
    """The samples of one metric: labels and value."""
    found = []
    for labels, value in re.findall(rf"^{name}(?:{{(.*?)}})? (\S+)$", page or "", re.MULTILINE):
        found.append((dict(re.findall(r'(\w+)="(.*?)"', labels)), float(value)))
    return found


def total(page, name):
    return sum(value for _, value in samples(page, name))


def page_with(collector, steps):
    """The metrics page, once it counts that many steps."""

    def found():
        page = fetch(collector.metrics_url)
        return page if total(page, "harn_step_duration_seconds_count") == steps else None

    return wait_for(f"{steps} steps on {collector.metrics_url}", found)


def asked(prometheus, query, label=None):
    """The values of Prometheus's answer, or those of a label, in order."""
    answer = json.loads(fetch(f"{prometheus.url}/api/v1/query?query={urllib.parse.quote(query)}"))
    return sorted(
        float(each["value"][1]) if label is None else each["metric"][label] for each in answer["data"]["result"]
    )
