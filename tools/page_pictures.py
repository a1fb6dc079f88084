"""Takes the pictures of the page for the docs: serves two weeks of records and photographs them in Chromium.

    python -m tools.page_pictures          from the checkout, with the packages of the tests

Needs chromium on PATH (Debian: apt-get install chromium). The pictures are written to docs/pictures/.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from otel_harn_steps.page._server import page_app
from otel_harn_steps.store import Store
from tests.page.records import write_two_weeks

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
MOST_BYTES = 250_000
WIDE, PHONE = (1440, 1080), (390, 844)


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, Store]]:
    """The page of a folder: its address, and the store."""
    with Store(folder) as store:
        server: uvicorn.Server
        app = page_app(store, is_stopping=lambda: server.should_exit)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/", store
        finally:
            server.should_exit = True
            thread.join()


def photograph(
    browser: Browser, url: str, name: str, size: tuple[int, int], scheme: str, *, scale: float = 1.0
) -> None:
    """Take a picture of the page as it is first seen."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("table:visible")
    page.wait_for_timeout(500)  # the charts are drawn when the page has its place
    file = PICTURES / name
    page.screenshot(path=file)
    context.close()
    print(f"{file.relative_to(PICTURES.parent.parent)}: {file.stat().st_size} bytes")
    if file.stat().st_size > MOST_BYTES:
        sys.exit(f"{name} is larger than {MOST_BYTES} bytes")


def main() -> None:
    """Take all of them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        write_two_weeks(Path(temporary), time.time_ns())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        with served(Path(temporary)) as (url, store):
            store.update()
            run = next(each for each in store.runs(order="cost", limit=None) if each.breached and each.entered > 4)
            dearest = max(store.run(run.run_id).steps, key=lambda step: step.total.cost_picousd)
            photograph(browser, url, "page-light.png", WIDE, "light")
            photograph(browser, url, "page-dark.png", WIDE, "dark")
            photograph(browser, url, "page-phone.png", PHONE, "light", scale=2)
            photograph(browser, f"{url}#/run/{run.run_id}", "page-run.png", (1440, 820), "light")
            photograph(browser, f"{url}#/run/{run.run_id}?at={dearest.step_id}", "page-step.png", (1440, 560), "dark")
            other = next(each for each in store.runs(order="cost", limit=None)[30:] if each.program == run.program)
            photograph(browser, f"{url}#/diff?a={other.run_id}&b={run.run_id}", "page-diff.png", (1440, 660), "light")
        browser.close()


if __name__ == "__main__":
    main()
