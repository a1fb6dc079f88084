"""The page in one piece: its modules, its style and the chart library, put into one file without anything to load."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from graphlib import TopologicalSorter
from html import escape
from importlib.resources import files
from typing import Any, Final

_STATIC: Final = files("otel_harn_steps.page") / "static"
_IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:function|const) (\w+))", re.MULTILINE)


def page_html(data: Mapping[str, Any], *, title: str, live: bool) -> str:
    """The whole page with its data.

    It loads nothing. Its policy lets nothing else run than its own scripts, by their hashes; a live one may ask
    the server that it is from.
    """
    parts = _parts()
    values = {
        "policy": policy(live=live),
        "title": escape(title),
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        **parts,
    }
    return re.sub(r"\{(policy|title|style|data|library|program)\}", lambda found: values[found[1]], _read("index.html"))


@lru_cache(maxsize=2)
def policy(*, live: bool) -> str:
    """The content security policy of the page."""
    parts = _parts()
    reached = "'self'" if live else "'none'"
    scripts = " ".join(f"'sha256-{_digest(parts[name])}'" for name in ("library", "program"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'sha256-{_digest(parts['style'])}'; img-src data:; "
        f"connect-src {reached}; base-uri 'none'; form-action 'none'"
    )


@lru_cache(maxsize=1)
def version() -> str:
    """What this page is made of, as a few characters: it changes when any part of it does."""
    whole = "".join((_read("index.html"), *_parts().values()))
    return hashlib.sha256(whole.encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _parts() -> Mapping[str, str]:
    return {
        "style": f"\n{_read('uplot/uPlot.min.css')}\n{_read('style.css')}",
        "library": f"\n{_read('uplot/uPlot.iife.min.js')}",
        "program": f"\n{_bundle()}",
    }


def _bundle() -> str:
    """The modules as one: each is a function that returns what it exports, after those that it imports."""
    texts = {each.name: _read(each.name) for each in _STATIC.iterdir() if each.name.endswith(".js")}
    graph = {name: {other for _names, other in _IMPORT.findall(text)} for name, text in texts.items()}
    bundled = ["const modules = {};"]
    for name in TopologicalSorter(graph).static_order():
        exported = ", ".join(_EXPORT.findall(texts[name]))
        text = _IMPORT.sub(r'const {\1} = modules["\2"];', _EXPORT.sub("", texts[name]))
        bundled.append(f'modules["{name}"] = (() => {{\n{text}return {{ {exported} }};\n}})();')
    return "\n".join(bundled)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _read(name: str) -> str:
    text = _STATIC.joinpath(*name.split("/")).read_text(encoding="utf-8")
    assert "</script" not in text or name == "index.html", f"{name} would end its own element"
    return text
