"""The line by which a model is told, before a limit, what is left: where `tell` is declared and its share is spent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_harn_steps._steps.steering import Steered

_END: Final = " left. Finish."
_LINE: Final = re.compile(r"\n?Budget: [^\n]+ left\. Finish\.\Z")


def budget_line(account: Steered) -> str | None:
    """The line for a call that is billed to `account`: "Budget: $0.04 left. Finish.".

    None where no budget that covers the call has reached the share at which its model is told.
    """
    if not account.is_told:
        return None
    left = str(account.remaining())
    return f"{left} Finish." if left else None


def with_budget_line(text: str | None, line: str) -> str:
    """A text that ends with the line, in place of the one that it may have. None: there is no text yet."""
    before = without_budget_line(text or "")
    return f"{before}\n{line}" if before else line


def without_budget_line(text: str) -> str:
    """A text without the line at its end."""
    return _LINE.sub("", text) if text.endswith(_END) else text


def is_budget_line(value: object) -> bool:
    """Whether a value is a text that is the line and nothing else."""
    return isinstance(value, str) and value != "" and without_budget_line(value) == ""
