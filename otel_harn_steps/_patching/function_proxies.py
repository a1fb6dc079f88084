"""wrapt's proxies, around what is no plain function. In a module of its own, because wrapt takes long to import."""

from __future__ import annotations

from typing import Any

import wrapt

from otel_harn_steps._patching.proxies import Copied


class BoundProxy(Copied, wrapt.BoundFunctionWrapper[Any, Any]):
    """Our proxy, as a class or an instance returns it. Some instrumentations keep it and put it on a class."""


class Proxy(Copied, wrapt.FunctionWrapper[Any, Any]):
    """Our wrapper around what is no plain function: a wrapper of others, a partial, a function of C."""

    __bound_function_wrapper__ = BoundProxy
