"""Does jobs in this environment: python -m overshooting WAY. A JSON line each for a job and for what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import warnings
from importlib import import_module

from overshooting.work import Job, done

answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # what a package prints must not be read as an answer
warnings.simplefilter("ignore")  # that a model has no price is one of the cases
opens = import_module(f"overshooting.{sys.argv[1]}").opens
for line in sys.stdin:
    report = asyncio.run(done(Job(**json.loads(line)), opens))
    answers.write(json.dumps(vars(report)) + "\n")
