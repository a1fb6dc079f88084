"""What steps have cost, in a notebook: as a table with its tree, and as frames.

import otel_harn_steps

otel_harn_steps.report()                                        # the steps of this process
otel_harn_steps.report(records="records", by="model", since="7d")    # what `otel-harn-steps run` has kept
"""

from __future__ import annotations

from otel_harn_steps.notebook._report import SpendReport, report

__all__ = ["SpendReport", "report"]

SpendReport.__module__ = __name__
