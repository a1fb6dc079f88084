"""What the target of a step may be: "module:function", "module:Class.method", or a pattern on names."""

from __future__ import annotations

from otel_harn_steps.config._tables import did_you_mean, mistake


def checked_target(text: str) -> str:
    """`text`, if it is a target.

    Raises:
        PydanticCustomError: it is none. The message says what it should be.
    """
    module, colon, pattern = text.partition(":")
    if not colon:
        suggestion = _split(text)
        raise mistake('must be "module:function" or "module:Class.method"' + did_you_mean(suggestion))
    if pattern.endswith("()"):
        raise mistake("must be a function's name without parentheses" + did_you_mean(f"{module}:{pattern[:-2]}"))
    if "/" in module or module.endswith(".py"):
        name = module.removesuffix(".py").strip("./").replace("/", ".")
        raise mistake(
            "must begin with a module's name as in `import`, not with a path" + did_you_mean(f"{name}:{pattern}")
        )
    if any(sign in module for sign in "*?["):
        raise mistake("must name one module; patterns are for the part after the colon")
    if not all(part.isidentifier() for part in module.split(".")):
        raise mistake(f"must begin with a module's name, which {module!r} is not")
    if "<locals>" in pattern:
        raise mistake("must be reachable from its module; a function inside a function is not")
    if not all(_is_name_or_pattern(part) for part in pattern.split(".")):
        raise mistake(f"must end with a function's qualified name or a pattern, which {pattern!r} is not")
    return text


def _split(text: str) -> str | None:
    """Where the colon of a dotted name belongs: before the first class, else before the last name."""
    path = text.removesuffix("()").split(".")
    if len(path) < 2 or not all(part.isidentifier() for part in path):
        return None
    at = next((number for number, part in enumerate(path) if part[:1].isupper() and number), len(path) - 1)
    return ".".join(path[:at]) + ":" + ".".join(path[at:])


def _is_name_or_pattern(part: str) -> bool:
    plain = part.translate(str.maketrans("*?[]!-", "______"))
    return plain.isidentifier() and (part.count("[") == part.count("]"))
