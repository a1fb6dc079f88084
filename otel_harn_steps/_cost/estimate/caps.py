"""The most output that a request allows, and lowering it, wherever a client puts that."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

from otel_harn_steps._cost.estimate.values import decoded, fields_of

_CAPS: Final = frozenset(
    {
        "maxOutputTokens", "maxTokenCount", "maxTokens", "max_completion_tokens", "max_gen_len", "max_new_tokens",
        "max_output_tokens", "max_tokens", "max_tokens_to_sample", "num_predict",
    }
)  # fmt: skip
# Each of the answers that a request asks for may be as long as it allows.
_ANSWERS: Final = frozenset({"best_of", "candidateCount", "candidate_count", "n", "numResults", "num_generations"})
# What holds settings, or a whole body. Messages and tools are never looked into: a schema may have any names.
_HOLDERS: Final = frozenset(
    {
        "additionalModelRequestFields", "body", "completion_args", "config", "extra_body", "generationConfig",
        "generation_config", "inferenceConfig", "inference_config", "json", "json_data", "options", "parameters",
        "request", "request_parameters", "textGenerationConfig",
    }
)  # fmt: skip
_KNOWN: Final = _CAPS | _ANSWERS | _HOLDERS
# No client needs more than four. A body that contains itself would have no end.
_MOST_HOLDERS: Final = 32


# Where a setting is: the names of what holds it, from the outside in, and its own.
_Path = tuple[str, ...]


def output_cap(body: object) -> int | None:
    """The most output tokens that a request allows, over all answers that it asks for. None: it sets no limit.

    Where it sets several limits, the highest counts.

    Args:
        body: what is sent: JSON-like values, objects of a client, JSON text in `body`.
    """
    caps, answers = _caps_of(body)
    return max(caps.values()) * answers if caps else None


def lower_output_cap(body: dict[str, Any], cap: int) -> bool:
    """Make a request allow at most `cap` output tokens, over all answers that it asks for.

    Each limit above that is lowered where it is. What `body` holds may be the app's: it is copied, never changed.

    Args:
        body: what is sent. The mapping itself is changed.
        cap: output tokens.

    Returns:
        Whether the request allows at most `cap` now. False, with nothing changed: it sets no limit, or `cap` is less
        than a token for each answer.
    """
    caps, answers = _caps_of(body)
    lowered = cap // answers
    if not caps or lowered < 1:
        return False
    for path, tokens in caps.items():
        if tokens > lowered:
            name, *rest = path
            body[name] = _with(body[name], rest, lowered)
    return True


def _caps_of(body: object) -> tuple[dict[_Path, int], int]:
    """The limits that a request sets, each with its place, and how many answers it asks for."""
    caps: dict[_Path, int] = {}
    answers = 1
    holders: list[tuple[_Path, object]] = [((), body)]
    for path, holder in holders:
        fields = holder if isinstance(holder, dict) else fields_of(decoded(holder))
        for name in _KNOWN & fields.keys():
            value = fields[name]
            if name in _HOLDERS:
                if len(holders) < _MOST_HOLDERS and value is not None:
                    holders.append(((*path, name), value))
            elif _is_count(value):
                if name in _CAPS:
                    caps[*path, name] = value
                elif value > answers:
                    answers = value
    return caps, answers


def _is_count(value: object) -> TypeGuard[int]:
    """Whether that is a number of something. -1, 0, True, None and what clients have for "not given" are none."""
    return isinstance(value, int) and value > 0 and value is not True


def _with(holder: Any, path: Sequence[str], tokens: int) -> Any:
    """A copy of `holder` with another limit at `path`."""
    if not path:
        return tokens
    name, *rest = path
    if isinstance(holder, (str, bytes, bytearray)):
        text = json.dumps(_with(decoded(holder), path, tokens))
        return text if isinstance(holder, str) else text.encode()
    changed = {name: _with(fields_of(holder)[name], rest, tokens)}
    if isinstance(holder, Mapping):
        return {**holder, **changed}
    if hasattr(holder, "model_copy"):
        return holder.model_copy(update=changed)
    copied = copy.copy(holder)
    copied.__dict__.update(changed)  # which a frozen dataclass allows
    return copied
