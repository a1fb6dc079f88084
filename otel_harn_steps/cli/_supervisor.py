"""Waiting for a program as if it had been started without us: it gets every signal that we get, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

_PASSED_ON: Final = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGALRM")
    if hasattr(signal, name)
)
_FROM_TERMINAL: Final = frozenset(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGWINCH") if hasattr(signal, name)
)


class Watch(Protocol):
    """Looks at something from time to time while the program lives, and may send it signals."""

    @property
    def waits_s(self) -> float:
        """How long to wait until the next look, in seconds."""

    def look(self, pid: int, send: Callable[[int], None]) -> None:
        """Look once. `send` sends a signal to the program, whose id is `pid`."""


def supervise(
    executable: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    begun: Callable[[], object],
    watch: Watch | None = None,
) -> int:
    """Run the program to its end. Returns its exit code, negative for the signal that killed it.

    Args:
        executable: its file.
        command: its words.
        environment: its environment.
        begun: called while it starts. Signals wait until this is done.
        watch: looks after it.
    """
    wait = _wait_for_signals if hasattr(signal, "sigwaitinfo") else _handle_signals
    return wait(executable, command, environment, begun, watch)


def _wait_for_signals(
    executable: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    begun: Callable[[], object],
    watch: Watch | None,
) -> int:
    """On a system that says who sent a signal: the terminal has sent it to the program too, and once is enough."""
    waited_for = {*_PASSED_ON, signal.SIGCHLD}
    # Blocked before the start, so that none is lost, and free again in the program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        program = subprocess.Popen(  # noqa: S603 -- what the user asks for
            command,
            executable=executable,
            env=dict(environment),
            close_fds=False,  # what was handed to us to be inherited, as a socket to serve, is the program's
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),  # noqa: PLW1509 -- no threads here
        )
        begun()
        while program.poll() is None:
            received = _next_signal(waited_for, watch)
            if received is None:
                assert watch is not None
                watch.look(program.pid, program.send_signal)
            elif received.si_signo != signal.SIGCHLD and not _is_from_terminal(received):
                program.send_signal(received.si_signo)
    finally:
        # What has come meanwhile was meant for the program, which is gone.
        while signal.sigtimedwait(waited_for, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return program.returncode


def _next_signal(waited_for: set[signal.Signals], watch: Watch | None) -> signal.struct_siginfo | None:
    """The next signal. None: it is time for a look."""
    if watch is None:
        return signal.sigwaitinfo(waited_for)
    return signal.sigtimedwait(waited_for, watch.waits_s)


def _is_from_terminal(received: signal.struct_siginfo) -> bool:
    # Above 0: sent by the kernel, as the terminal's are, and not by a process.
    return received.si_signo in _FROM_TERMINAL and received.si_code > 0


def _handle_signals(
    executable: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    begun: Callable[[], object],
    watch: Watch | None,
) -> int:
    """Elsewhere (macOS): in the foreground of a terminal, the terminal's signals are taken for its own."""
    waiting: list[int] = []
    program: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: object) -> None:
        if program is None:
            waiting.append(number)
        elif number not in _FROM_TERMINAL or not _is_in_foreground():
            program.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        program = subprocess.Popen(  # noqa: S603 -- as above
            command, executable=executable, env=dict(environment), close_fds=False
        )
        for number in waiting:
            program.send_signal(number)
        begun()
        while watch is not None:
            with suppress(subprocess.TimeoutExpired):
                return program.wait(watch.waits_s)
            watch.look(program.pid, program.send_signal)
        return program.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def end_as(code: int) -> int:
    """The exit code for `code`. Where a signal has killed the program, it kills us too: a shell shows that."""
    if code >= 0:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError, ValueError, ImportError):
        import resource  # noqa: PLC0415 -- not everywhere

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program's core is the one of interest
    with suppress(OSError, ValueError):  # SIGKILL has no handler to reset
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    return 128 - code
