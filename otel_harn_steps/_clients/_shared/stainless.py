"""What the clients that Stainless generates have in common: openai, anthropic, and others.

One method, `request`, is passed by every public entry (create, parse, stream helpers, raw responses, client.post), also
on clients and methods that were bound before it is patched. `_process_response` lies below it and is called with the
HTTP response before the body is parsed, so usage is seen even where `parse()` raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from otel_harn_steps._calls.client import UNKNOWN_OPERATION, Call, Request, Seam
from otel_harn_steps._cost.estimate import lower_output_cap


def seams(package: str, fills: Mapping[str, Sequence[str]]) -> tuple[Seam, ...]:
    """The seams of the client `package`.

    Args:
        package: as in `import PACKAGE`.
        fills: methods in which the app names a model, by module.
    """
    base = f"{package}._base_client"
    return (
        Seam(base, "SyncAPIClient.request"),
        Seam(base, "AsyncAPIClient.request", is_async=True),
        Seam(base, "BaseClient._build_request", "send"),
        Seam(base, "SyncAPIClient._process_response", "response"),
        Seam(base, "AsyncAPIClient._process_response", "response"),
        *(
            Seam(f"{package}.{module}", f"{prefix}{target}", "fill", is_optional=True)
            for module, targets in fills.items()
            for target in targets
            for prefix in ("", "Async")
        ),
    )


def options_of(call: Call) -> Any:
    """The options of `request(cast_to, options, ...)`."""
    return call.args[1] if len(call.args) > 1 else call.kwargs["options"]


# By the id of the client's URL, which is kept with it: to take one apart costs as much as reading a request.
_addresses: Final[dict[int, tuple[Any, str, int | None]]] = {}
_MOST_ADDRESSES: Final = 64


def address_of(call: Call) -> tuple[str, int | None]:
    """The host and the port that a call goes to. The port is None where the URL has none."""
    client = call.instance
    # Where the client keeps it: openai's own `base_url` imports a module each time that it is asked.
    kind: type = type(client)
    url = client.__dict__.get("_base_url") if _keeps_url(kind) else None
    if url is None:
        url = client.base_url
    known = _addresses.get(id(url))
    if known is None or known[0] is not url:
        if len(_addresses) >= _MOST_ADDRESSES:
            _addresses.clear()
        known = _addresses[id(url)] = url, url.host, url.port
    return known[1], known[2]


@lru_cache(maxsize=256)
def _keeps_url(kind: type) -> bool:
    """Whether `base_url` of such clients is the client library's own: that of a subclass of the app's may differ."""
    getter = getattr(getattr(kind, "base_url", None), "fget", None)
    root = next((each for each in reversed(kind.__mro__) if hasattr(each, "base_url")), None)
    return getter is not None and _package_of(getter) == _package_of(root)


def _package_of(value: Any) -> str:
    return str(value.__module__).partition(".")[0]


def path_of(options: Any) -> str:
    """The path that a request goes to, without its query: "/chat/completions"."""
    return path_in(str(options.url))


@lru_cache(maxsize=256)
def path_in(url: str) -> str:
    path = url.partition("?")[0].rstrip("/")
    return path if path.startswith("/") else f"/{path}"


def unread_operation(call: Call, operation_at: Callable[[str], str | None]) -> str | None:
    """The operation of a call whose reading broke, as far as it shows. None: it may be no request to a model.

    Everything passes this method, so an unknown request counts as a call where it posts something, to a path that
    runs a model or that does not show.
    """
    given = (*call.args, *call.kwargs.values())
    methods = [each.lower() for part in given if isinstance(each := getattr(part, "method", None), str)]
    urls = [each for part in given if isinstance(each := getattr(part, "url", None), str)]
    if "post" not in methods:
        return None
    return operation_at(path_in(urls[0])) if urls else UNKNOWN_OPERATION


def body_of(options: Any) -> Mapping[str, Any]:
    """The JSON that a request sends."""
    body = options.json_data
    return body if type(body) is dict or isinstance(body, Mapping) else {}


def sent_body(options: Any) -> Mapping[str, Any]:
    """All that a request sends. What its `extra_body` adds stays under that name."""
    body, extra = body_of(options), getattr(options, "extra_json", None)
    return {**body, "extra_body": extra} if extra else body


def change_body(options: Any, **changes: object) -> None:
    """Send other values. The mapping itself may be the app's, and stays as it is."""
    options.json_data = {**body_of(options), **changes}


def fill_in_model(call: Call, request: Request) -> None:
    """Send the request's model where the app named none."""
    if request.is_filled:
        change_body(options_of(call), model=request.model)


def lower_output(call: Call, cap: int) -> bool:
    """Make the call allow at most `cap` output tokens, where it says how many it allows."""
    options = options_of(call)
    body = dict(body_of(options))
    if not lower_output_cap(body, cap):
        return False
    options.json_data = body
    return True
