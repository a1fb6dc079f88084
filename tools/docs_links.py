"""For the site: links to files outside of docs/, which work on the forge, become links to their names."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)\s]+\)")


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:
    """Keep the text of links that leave docs/; those from a folder of docs/ to a page above stay."""
    depth = page.file.src_uri.count("/")

    def kept(found: re.Match[str]) -> str:
        is_outside = found[0].partition("](")[2].count("../") > depth
        return found[1] if is_outside else found[0]

    return _OUTSIDE.sub(kept, markdown)
