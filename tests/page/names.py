"""Names that no page may stumble over."""

from __future__ import annotations

from typing import Final

HOSTILE: Final = {
    "emoji": "plan 🧭 👩‍👩‍👧",
    "HTML": "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "an escape of a terminal": "\x1b[31mred\x1b[0m",
    "right to left": "\u202etxt.exe\u202c שלום",
    "10,000 characters": "long " * 2000,
    "a line's end in JavaScript": "a\u2028b\u2029c",
    "a comment": "<!--<script>",
    "a placeholder": "{data}{program}\\1",
    "a pattern": "[x]*?",
    "a quote": "\"'><svg onload=alert(3)>",
}
