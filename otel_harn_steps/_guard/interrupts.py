"""Telling an exception that was raised into our frames from a fault of theirs.

Python runs a signal's handler in whatever frame the main thread is in, and another thread may have an exception raised
there (`PyThreadState_SetAsyncExc`). Time limits are made of both (Celery, RQ, pytest-timeout, `signal.setitimer`), and
they are the app's: a guard must let them pass. All of this is asked only where there is an exception already.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any

_HAS_STAR_ARGS = 0x04
_HAS_STAR_KWARGS = 0x08
_TRACE_EVENTS = ("call", "line", "return", "exception", "opcode")
_MOST_WRAPPERS = 8
# Instructions that look for interrupts: the first raise nothing of their own.
_ONLY_LOOK = ("RESUME", "JUMP_BACKWARD")
_ALSO_LOOK = ("CALL", "PRECALL", "POP_JUMP_BACKWARD")
# What time limits raise that bring no class of their own. No function in C raises them without a message.
_NEVER_BARE = (Exception, RuntimeError, TimeoutError)
_STANDARD = frozenset(name.lstrip("_") for name in sys.stdlib_module_names) | {"builtins"}


def is_interrupt(error: BaseException, traceback: TracebackType | None) -> bool:
    """Whether something from outside raised `error` in the frames of `traceback`: a signal's handler, another thread.

    It says no where it cannot know: where a handler is not made of Python functions, and where another thread raised
    an exception of the standard library's other than `TimeoutError` at the end of a call.
    """
    last = traceback
    frames: list[FrameType] = []
    handlers: frozenset[CodeType] | None = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frames:
            if _was_interrupting(frame, frames):
                return True
            if threading.current_thread() is threading.main_thread():  # the only one in which handlers run
                handlers = _handlers() if handlers is None else handlers
                if frame.f_code in handlers:
                    return True
        frames.append(frame)
        last, traceback = traceback, traceback.tb_next
    return last is not None and _came_from_another_thread(error, last)


def _was_interrupting(frame: FrameType, above: list[FrameType]) -> bool:
    """Whether `frame` was called as a signal's handler is, or a trace function: with a frame that it interrupts."""
    arguments = list(_arguments_of(frame))
    if not any(each is upper for each in arguments for upper in above):
        return False
    return any(isinstance(each, int) or (isinstance(each, str) and each in _TRACE_EVENTS) for each in arguments)


def _arguments_of(frame: FrameType) -> Iterator[object]:
    code, held = frame.f_code, frame.f_locals
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _HAS_STAR_ARGS) + bool(code.co_flags & _HAS_STAR_KWARGS)
    for name in code.co_varnames[:count]:
        value = held.get(name)
        yield value
        if type(value) is tuple:
            yield from value


def _handlers() -> frozenset[CodeType]:
    """The code of the functions that handle signals now: a handler may drop the frame that it was given.

    Not of those with `*args`: that may be a decorator's, which has wrapped other functions too.
    """
    registered = (signal.getsignal(each) for each in signal.valid_signals())
    codes = (code for each in registered if callable(each) for code in _code_of(each))
    return frozenset(code for code in codes if not code.co_flags & _HAS_STAR_ARGS)


def _code_of(handler: Any) -> Iterator[CodeType]:
    """The code of a function, and of what it wraps: of a method, a partial, a decorated function, an object."""
    for _ in range(_MOST_WRAPPERS):
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            yield code
        inner = [getattr(handler, name, None) for name in ("__func__", "func", "__wrapped__")]
        inside = next((each for each in inner if callable(each)), None)
        if inside is None and isinstance(code, CodeType):
            return
        handler = inside or type(handler).__call__


def _came_from_another_thread(error: BaseException, last: TracebackType) -> bool:
    """Whether the last frame was at an instruction that does not raise `error`."""
    import dis  # noqa: PLC0415 -- needed at a fault alone

    code, at = last.tb_frame.f_code.co_code, last.tb_lasti
    if not 0 <= at < len(code):
        return False
    instruction = dis.opname[code[at]]
    if instruction.startswith(_ONLY_LOOK):
        return True
    # At the end of a call interrupts are looked for as well. Another thread can give no more than the class, and
    # functions in C raise no class that an app has written in Python.
    return instruction.startswith(_ALSO_LOOK) and _is_of_an_app(type(error)) and _needs_only_its_class(error)


def _is_of_an_app(kind: type[BaseException]) -> bool:
    if kind in _NEVER_BARE:
        return True
    module = kind.__module__ if isinstance(kind.__module__, str) else ""
    return module.partition(".")[0].lstrip("_") not in _STANDARD


def _needs_only_its_class(error: BaseException) -> bool:
    """Whether `error` can be what its class makes without arguments."""
    init: Any = type(error).__init__
    code = getattr(init, "__code__", None)
    if not isinstance(code, CodeType):
        return not error.args
    return code.co_argcount - 1 <= len(init.__defaults__ or ()) and code.co_kwonlyargcount <= len(
        init.__kwdefaults__ or ()
    )
