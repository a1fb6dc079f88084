"""The notes that the processes of a run write into their journals."""

from __future__ import annotations

from typing import Final

STARTED: Final = "process_started"
"""The note of a Python process that takes part in a run."""
CLIENT_PATCHED: Final = "client_patched"
"""The note of a client library that was imported and is patched: `client` is its name."""
CLIENT_UNPATCHED: Final = "client_unpatched"
"""The note of one that was imported and could not be patched."""
UNSEEN_CALL: Final = "unseen_call"
"""The note of a request to a model's host that no patched client has made: `host` is where it went."""
