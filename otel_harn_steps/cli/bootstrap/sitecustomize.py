"""Imported by every Python process below `otel-harn-steps run`, before anything of the app.

This folder is the first in the PYTHONPATH of those processes. It leaves `sys.path`, so that the app finds there what it
always did, and the `sitecustomize` that would have been imported without us is imported.
"""

import os
import sys


def _begin() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or ".") != here]
    ours = sys.modules.pop("sitecustomize")
    try:
        # First, because another tool's may set up the OpenTelemetry SDK, which then is the one to use.
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
        sys.modules["sitecustomize"] = ours
    finally:
        _join()


def _join() -> None:
    folder = os.environ.get("OTEL_HARN_STEPS_RUN")
    if not folder or not os.path.isdir(folder):
        return
    try:
        from otel_harn_steps.cli._child import join
    except ImportError as error:
        # Another Python than the one that has us: it runs on, and the command says so at its end.
        with open(os.path.join(folder, "elsewhere"), "a", encoding="utf-8") as notes:
            notes.write(f"{sys.executable}: {error}\n")
        return
    join()


_begin()
