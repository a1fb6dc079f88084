"""Instructions: of the processor, where the kernel has a counter for us, or counted by valgrind."""
import ctypes
import os
import platform
import struct
import subprocess


class HardwareInstructions:
    """User-mode instructions this process and its later threads retired: unlike time, steady on a busy machine.

    0 where the kernel has no counter for us (most virtual machines).
    """

    def __init__(self):
        number = {"x86_64": 298, "aarch64": 241}.get(platform.machine(), -1)
        flags = 1 << 1 | 1 << 5 | 1 << 6      # inherit, exclude_kernel, exclude_hv
        attr = ctypes.create_string_buffer(struct.pack("=IIQQQQQ", 0, 112, 1, 0, 0, 0, flags), 112)
        self.fd = ctypes.CDLL(None, use_errno=True).syscall(number, attr, 0, -1, -1, 0)

    def begin(self):
        """Nothing to do: this one counts from the start."""

    def __call__(self):
        return struct.unpack("=Q", os.read(self.fd, 8))[0] if self.fd >= 0 else 0


class CallgrindInstructions:
    """The same under `valgrind --tool=callgrind --dump-before=getppid`: each call of it writes what ran since the last.

    With `--instr-atstart=no` nothing is counted before `begin()`: a process then starts six times as fast.
    """

    def __init__(self, out_file):
        self.out_file, self.dumps, self.total = out_file, 0, 0

    def begin(self):
        """Count from here on. Valgrind listens while this process runs: where it waits, ptrace would be needed."""
        switch = subprocess.Popen(["vgdb", f"--pid={os.getpid()}", "instrumentation", "on"], stdout=subprocess.DEVNULL)
        while switch.poll() is None:
            pass
        if switch.returncode:
            raise RuntimeError(f"vgdb ended with {switch.returncode}: instructions are not counted")

    def __call__(self):
        os.getppid()
        self._take_in()
        os.getppid()                          # this one leaves the reading out of the next count
        self.dumps = len(self._new()) + self.dumps
        return self.total

    def _take_in(self):
        """Add the dumps there are: more than one where the workload itself asked for its parent's id."""
        for dump in self._new():
            with open(dump) as f:
                self.total += next(int(line.split()[1]) for line in f if line.startswith("summary:"))
            self.dumps += 1

    def _new(self):
        found = []
        while os.path.exists(dump := f"{self.out_file}.{self.dumps + len(found) + 1}"):
            found.append(dump)
        return found


CALLGRIND = os.environ.get("BENCH_CALLGRIND")
INSTRUCTIONS = CallgrindInstructions(CALLGRIND) if CALLGRIND else HardwareInstructions()
