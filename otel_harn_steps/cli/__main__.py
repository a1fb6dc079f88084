"""`python -m otel_harn_steps.cli`: the command, where its script is not on the path."""

from __future__ import annotations

import sys

from otel_harn_steps.cli._command import main

sys.exit(main())
