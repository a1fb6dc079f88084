"""Objects that are no coroutines and can be awaited, in a step."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import wrapt

_Await = Callable[[Any], Coroutine[Any, Any, Any]]


class AwaitedInStep(wrapt.BaseObjectProxy[Any]):
    """Looks like the object that a step's function returned. The first `await` runs in the step, and ends it."""

    def __init__(self, body: Any, in_step: _Await) -> None:
        super().__init__(body)
        self._self_in_step: _Await | None = in_step

    def __await__(self) -> Generator[Any, Any, Any]:
        in_step, self._self_in_step = self._self_in_step, None
        body: Any = self.__wrapped__
        made: Generator[Any, Any, Any] = body.__await__() if in_step is None else in_step(body).__await__()
        return made
