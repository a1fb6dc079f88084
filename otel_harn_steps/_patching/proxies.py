"""What wrapt's proxies leave out: copying and pickling, for which they raise NotImplementedError."""

from __future__ import annotations

import copy
from typing import Any


class Copied:
    """A base of proxies that copy and pickle as what they stand for. The copy is the library's own: no proxy."""

    __slots__ = ()
    __wrapped__: Any

    def __copy__(self) -> Any:
        copied = copy.copy(self.__wrapped__)
        return self if copied is self.__wrapped__ else copied

    def __deepcopy__(self, memo: Any) -> Any:
        copied = copy.deepcopy(self.__wrapped__, memo)
        return self if copied is self.__wrapped__ else copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)
