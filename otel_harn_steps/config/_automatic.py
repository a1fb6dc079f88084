"""Starting without a line of code: what `opentelemetry-instrument` sets off. Whatever is wrong is logged; nothing is
raised, for that would keep every other instrumentation from starting.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from otel_harn_steps.config._finding import find_config
from otel_harn_steps.config._plan import Plan
from otel_harn_steps.config._starting import start

_logger = logging.getLogger("otel_harn_steps")


def start_by_file(**providers: Any) -> None:
    """Do what the configuration file says, or nothing but patch the clients where there is none."""
    plan = Plan()
    try:
        path = find_config()
        if path is not None:
            plan = _plan_of(path)
    except Exception:
        _logger.exception("the configuration is not used: reading it failed")
    try:
        start(plan, **providers)
    except Exception:
        _logger.exception("otel_harn_steps is not at work: starting it failed")


def _plan_of(path: Path) -> Plan:
    try:
        from otel_harn_steps.config._loading import load  # noqa: PLC0415 -- pydantic: only where there is a file
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("pydantic", "pydantic_core"):
            raise
        _logger.warning("%s is not used: reading it needs pydantic: pip install 'otel-harn-steps[config]'", path)
        return Plan()
    loaded = load(path)
    for problem in loaded.problems:
        _logger.error("%s", problem)
    if loaded.problems and loaded.strict:
        _logger.error("%s is not used: it is strict, and has mistakes", path)
        return Plan()
    if loaded.problems:
        _logger.error("%s is used without what is wrong in it", path)
    return loaded.plan
