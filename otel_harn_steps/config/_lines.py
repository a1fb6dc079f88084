"""On which line of a TOML file each key is: tomllib does not say, and an error must.

A scanner, not a parser: it reads text that tomllib has accepted, and only finds its way through it.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]
"""Where a value is: `("steps", 0, "budget", "max_usd")`."""

_BLANK = re.compile(r"(?:[\s]+|#[^\n]*)*")
_KEY_PART = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|[^\s.=\]"\'#]+')
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> Mapping[KeyPath, int]:
    """The line, from 1, of every key, table and array element in `text`, which must be valid TOML."""
    scanner = _Scanner(text)
    scanner.read_document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._lengths: dict[KeyPath, int] = {}  # of the arrays of tables

    def read_document(self) -> None:
        table: KeyPath = ()
        while self._next():
            line = self._line()
            if self._take("[["):
                path = self._header()
                index = self._lengths.get(path, 0)
                self._lengths[path] = index + 1
                self.lines.setdefault(path, line)
                table = (*path, index)
                self._take("]]")
                self.lines[table] = line
            elif self._take("["):
                table = self._header()
                self._take("]")
                self.lines.setdefault(table, line)
            else:
                self._read_pair(table)

    def _header(self) -> KeyPath:
        """The path that a header means: below an array of tables, that is its last table."""
        *parents, last = self._key()
        path: KeyPath = ()
        for key in parents:
            path = (*path, key)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return (*path, last)

    def _read_pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for key in self._key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._take("=")
        self._read_value(path)

    def _read_value(self, path: KeyPath) -> None:
        self._next()
        string = _STRING.match(self._text, self._at)
        if string is not None:
            self._at = string.end()
        elif self._take("["):
            index = 0
            while not self._take("]"):
                self.lines[(*path, index)] = self._line()
                self._read_value((*path, index))
                self._take(",")
                index += 1
        elif self._take("{"):
            while not self._take("}"):
                self._read_pair(path)
                self._take(",")
        else:
            self._at = _match(_BARE, self._text, self._at).end()

    def _key(self) -> KeyPath:
        parts = []
        while True:
            self._next()
            part = _match(_KEY_PART, self._text, self._at)
            self._at = part.end()
            raw = part.group()
            parts.append(tomllib.loads(f"key = {raw}")["key"] if raw[0] in "\"'" else raw)
            if not self._take("."):
                return tuple(parts)

    def _next(self) -> bool:
        """Go to the next thing that is neither blank nor comment. False at the end."""
        self._at = _match(_BLANK, self._text, self._at).end()
        return self._at < len(self._text)

    def _take(self, token: str) -> bool:
        if self._next() and self._text.startswith(token, self._at):
            self._at += len(token)
            return True
        return False

    def _line(self) -> int:
        self._next()
        return bisect_left(self._ends, self._at) + 1


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = pattern.match(text, at)
    if found is None:  # tomllib has accepted what this cannot read
        raise ValueError(f"no key at offset {at}")
    return found
