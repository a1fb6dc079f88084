"""The Honeycomb board of the panels that spans know: queries, titles, and the board. Standard library only.

`python -m otel_harn_steps.dashboard.honeycomb` prints what it would send, and sends nothing. With `--create` it sends.
The key comes from HONEYCOMB_API_KEY, a configuration key that may manage queries and boards (an ingest key may not).
Every `--create` makes a new board; Honeycomb deletes none by this script's doing. A query over a column that the team
does not have yet is refused: its panel is left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from otel_harn_steps.dashboard._panels import DESCRIPTION, PANELS, TITLE

FILE = Path(__file__).with_name("step-spend.honeycomb.json")
KEY = "HONEYCOMB_API_KEY"
REGIONS = {"us": "https://api.honeycomb.io", "eu": "https://api.eu1.honeycomb.io"}
# Every dataset of the environment: each service.name is a dataset of its own.
ALL_DATASETS = "__all__"

_GRAFANA_COLUMNS, _HONEYCOMB_COLUMNS = 24, 12
_STYLES = {"stat": "combo", "bars": "combo", "bar_gauge": "table", "table": "table", "lines": "combo"}
_TIMEOUT_S = 30
# As Honeycomb answers to a query that names an unknown column.
_QUERY_NOT_ACCEPTED = (400, 422)

# Sends `body` to a path and returns the answer.
Post = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class RefusedError(Exception):
    """Honeycomb did not do what it was asked. The message says why; it never has the key.

    Attributes:
        status: the HTTP status of the answer. None: there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def board() -> dict[str, Any]:
    """The board, with its queries in place of their ids, as the file next to this module has it."""
    panels: list[dict[str, Any]] = []
    x, y, row_height = 0, 0, 0
    for panel in PANELS:
        if panel.honeycomb is None:
            continue
        width, height = panel.width * _HONEYCOMB_COLUMNS // _GRAFANA_COLUMNS, panel.height
        if x + width > _HONEYCOMB_COLUMNS:
            # The row may have room where a panel is that spans do not know.
            panels[-1]["position"]["width"] += _HONEYCOMB_COLUMNS - x
            x, y, row_height = 0, y + row_height, 0
        panels.append(
            {
                "title": panel.title,
                "description": panel.description,
                "style": _STYLES[panel.kind],
                "position": {"x_coordinate": x, "y_coordinate": y, "width": width, "height": height},
                "query": panel.honeycomb,
            }
        )
        x, row_height = x + width, max(row_height, height)
    return {"name": TITLE, "description": DESCRIPTION, "panels": panels}


def create(post: Post, dataset: str = ALL_DATASETS, left_out: Callable[[str, str], None] | None = None) -> str:
    """Create the queries, their titles and the board, by `post`. Returns the board's address.

    Args:
        post: sends, and returns the answer.
        dataset: where the queries look.
        left_out: is called with the title of each panel whose query Honeycomb does not accept, and what it said. None:
            such a panel is an error.

    Raises:
        RefusedError: Honeycomb said no, or could not be reached. What was created before remains.
    """
    planned, place, panels = board(), urllib.parse.quote(dataset, safe=""), []
    for panel in planned["panels"]:
        try:
            query = post(f"/1/queries/{place}", panel["query"])["id"]
        except RefusedError as error:
            if left_out is None or error.status not in _QUERY_NOT_ACCEPTED:
                raise
            left_out(panel["title"], str(error))
            continue
        title = {"name": panel["title"], "description": panel["description"], "query_id": query}
        annotation = post(f"/1/query_annotations/{place}", title)["id"]
        panels.append(
            {
                "type": "query",
                "position": panel["position"],
                "query_panel": {
                    "query_id": query,
                    "query_annotation_id": annotation,
                    "query_style": panel["style"],
                },
            }
        )
    made = post(
        "/1/boards",
        {
            "name": planned["name"],
            "description": planned["description"],
            "type": "flexible",
            "layout_generation": "manual",
            "panels": panels,
        },
    )
    return str(made.get("links", {}).get("board_url") or made.get("id", ""))


def poster(endpoint: str, key: str) -> Post:
    """Sends to Honeycomb at `endpoint`.

    Raises:
        ValueError: the endpoint would carry the key in the clear.
    """
    parts = urllib.parse.urlsplit(endpoint)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}):
        raise ValueError(f"not an https address: {endpoint}")
    # No handler of redirects: followed, one would carry the key to another host.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)

    def post(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        request = urllib.request.Request(  # noqa: S310 -- the scheme was checked
            endpoint.rstrip("/") + path,
            json.dumps(body).encode(),
            {"X-Honeycomb-Team": key, "Content-Type": "application/json", "User-Agent": "otel-harn-steps"},
        )
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            reply = error.read(2000).decode(errors="replace").replace(key, "...")
            raise RefusedError(f"POST {path}: {error.code} {error.reason}: {reply}", error.code) from None
        except (OSError, ValueError) as error:
            raise RefusedError(f"POST {path}: {error}") from None
        if not isinstance(answer, dict) or "id" not in answer:
            raise RefusedError(f"POST {path}: the answer has no id")
        return answer

    return post


def _printer() -> Post:
    """Sends nothing, prints what would be sent, and answers with ids to go on with."""
    sent = 0

    def post(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal sent
        sent += 1
        sys.stdout.write(f"POST {path}\n{json.dumps(body, indent=2)}\n\n")
        return {"id": f"id-of-answer-{sent}"}

    return post


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.write:
        FILE.write_text(json.dumps(board(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if not options.create:
        create(_printer(), options.dataset)
        sys.stdout.write(f"Nothing was sent. With --create and a key in {KEY} it is.\n")
        return 0
    key = os.environ.get(KEY, "").strip()
    if not key:
        sys.stderr.write(f"--create needs a configuration key in the environment variable {KEY}\n")
        return 2
    try:
        post = poster(REGIONS.get(options.endpoint, options.endpoint), key)
        address = create(post, options.dataset, _say_left_out)
    except (RefusedError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"Created: {address}\n")
    return 0


def _say_left_out(title: str, reason: str) -> None:
    sys.stderr.write(f"Left out: {title}. {reason}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Create the Honeycomb board of step spend.")
    parser.add_argument("--create", action="store_true", help="send it; without this, only print it")
    parser.add_argument("--endpoint", default="us", metavar="us|eu|URL", help="where the team lives, default: us")
    parser.add_argument("--dataset", default=ALL_DATASETS, help="default: all datasets of the environment")
    parser.add_argument("--write", action="store_true", help=f"make {FILE.name} anew from the panel table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
