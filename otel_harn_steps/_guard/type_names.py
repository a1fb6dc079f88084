"""How an exception's class is named in what leaves the process."""

from __future__ import annotations

import sys


def type_name(kind: type) -> str:
    """The name that `kind` can be imported by, as "module.Class"; that of the nearest base class which has one.

    A class that is made while the program runs may be named after a prompt.
    """
    return next(name for each in kind.__mro__ if (name := _importable_name(each)) is not None)


def _importable_name(kind: type) -> str | None:
    module, name = kind.__module__, kind.__qualname__
    found: object = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split("."):
        # Not `getattr`: a module or a metaclass may do anything there.
        found = getattr(found, "__dict__", {}).get(part)
    if found is not kind:
        return None
    return name if module == "builtins" else f"{module}.{name}"
