"""A reader of the page in a real Chromium, who notes what must not happen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@contextmanager
def visit(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page at an address. In the end, it has asked no other host, and the console has no error."""
    context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
    try:
        page.goto(address)
        page.wait_for_selector("main > *:not(noscript)")
        yield page
        own = urlsplit(address)
        assert [url for url in asked if urlsplit(url)[:2] != own[:2] and not url.startswith("data:")] == []
        assert errors == []
    finally:
        context.close()


def barriers(page: Page, axe: Path) -> list[str]:
    """What axe finds serious or critical."""
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document)")["violations"]
    return [
        f"{each['id']}: {node['html']} {node['any'][:1]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]
