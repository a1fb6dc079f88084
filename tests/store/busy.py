"""A busy program with four processes, killed at random moments: python -m tests.store.busy FOLDER ROUNDS SEED.

Each round leaves a folder with the journal, and with `acknowledged`: what the processes said that they had written.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

from otel_harn_steps import Journal
from tests.store.rows import sent, settled

SPAWNS_EVERY = 10


def new_journal(folder: Path) -> Journal:
    """A journal whose files end often."""
    return Journal(folder / "journal", max_bytes=20_000)


def work(journal: Journal, acknowledge: int, name: str) -> None:
    """Send calls and settle three of four, until the end."""
    for number in count():
        call_id = f"{name}-{number}"
        journal.call_sent(sent(call_id))
        os.write(acknowledge, f"sent {call_id}\n".encode())
        if number % 4:
            journal.call_settled(settled(call_id))
            os.write(acknowledge, f"settled {call_id}\n".encode())


def begin(folder: Path, acknowledge: int, number: int) -> None:
    """Be the first of the four processes."""
    os.setpgid(0, 0)
    journal = new_journal(folder)
    journal.call_settled(settled("first"))  # the others are forked from a process whose journal is open
    os.write(acknowledge, b"settled first\n")
    for child in range(2):
        if os.fork() == 0:
            work(journal, acknowledge, f"forked {child}")
    if number % SPAWNS_EVERY == 0:
        subprocess.Popen(
            [sys.executable, "-m", "tests.store.busy", "work", str(folder), str(acknowledge)], pass_fds=[acknowledge]
        )
    elif os.fork() == 0:
        work(journal, acknowledge, "forked 2")
    work(journal, acknowledge, "first")


def kill_one(folder: Path, number: int, after_bytes: int) -> None:
    """Start a program, kill it when it has acknowledged so much, and keep what it has acknowledged."""
    folder.mkdir()
    reading, writing = os.pipe()
    program = os.fork()
    if program == 0:
        os.close(reading)
        begin(folder, writing, number)
    os.close(writing)
    read = b""
    waits_for_spawned = number % (2 * SPAWNS_EVERY) == 0  # else it is killed while it starts
    while len(read) < after_bytes or (waits_for_spawned and b"spawned" not in read):
        read += os.read(reading, 1000)
    os.killpg(program, signal.SIGKILL)
    os.waitpid(program, 0)
    while more := os.read(reading, 1 << 16):  # to its end, when the last of the four is gone
        read += more
    os.close(reading)
    (folder / "acknowledged").write_bytes(read)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(new_journal(Path(sys.argv[2])), int(sys.argv[3]), "spawned")
    chosen = random.Random(int(sys.argv[3]))
    for each in range(int(sys.argv[2])):
        # Evenly over the orders of magnitude: from the first fork to some hundred calls.
        kill_one(Path(sys.argv[1]) / str(each), each, int(10 ** chosen.uniform(1.2, 4.8)))
