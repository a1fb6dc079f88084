"""Runs one contender in its venv. With --cold: prints start-up cost. Else obeys JSON lines on stdin."""
import gc
import importlib
import json
import os
import sys
import threading
import time

from counters import INSTRUCTIONS

REAL_OUT = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)                                 # contenders that print must not break the protocol


def rss_kb():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def load(name, keep=False):
    t0 = time.perf_counter()
    import fakes  # noqa: F401 -- imports openai: common to all
    from telemetry import Telemetry
    t1 = time.perf_counter()
    contender = importlib.import_module("contenders." + name).C()
    if contender.otel:
        import opentelemetry.sdk.trace.export  # noqa: F401
    t2 = time.perf_counter()
    tel = Telemetry(keep)
    contender.setup(tel)
    t3 = time.perf_counter()
    return contender, tel, {"openai_ms": (t1 - t0) * 1e3, "import_ms": (t2 - t1) * 1e3, "setup_ms": (t3 - t2) * 1e3}


def sample(run, n):
    gc.collect()
    gc.freeze()                               # or a full collection may look through all modules in one sample of many
    i0, c0, t0 = INSTRUCTIONS(), time.process_time_ns(), time.perf_counter_ns()
    units = run(n)
    t1, c1, i1 = time.perf_counter_ns(), time.process_time_ns(), INSTRUCTIONS()
    return {"wall_us": (t1 - t0) / 1e3 / units, "cpu_us": (c1 - c0) / 1e3 / units, "kinstr": (i1 - i0) / 1e3 / units}


def memory(run, n, trace):
    import tracemalloc
    run(2000)
    gc.collect()
    before = rss_kb()
    if trace:
        tracemalloc.start()
    run(n)
    gc.collect()
    out = {"steps": n, "rss_growth_kb": rss_kb() - before, "rss_kb": rss_kb()}
    if trace:
        snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])
        stats = snapshot.statistics("lineno")
        out = {"steps": n, "retained_kb": sum(s.size for s in stats) / 1024,
               "top": [f"{s.size / 1024:.0f} KiB {s.traceback[0].filename.split('site-packages/')[-1]}:"
                       f"{s.traceback[0].lineno}" for s in stats[:3]]}
    return out


def profile(run, n, top):
    import cProfile
    import io
    import pstats
    p = cProfile.Profile()
    p.runcall(run, n)
    text = io.StringIO()
    pstats.Stats(p, stream=text).sort_stats("tottime").print_stats(top)
    return text.getvalue()


def main():
    name = sys.argv[1]
    keep = "--keep" in sys.argv
    contender, tel, cold = load(name, keep)
    from workloads import Workloads
    t0 = time.perf_counter()
    w = Workloads(contender, echo=keep)
    if "--cold" in sys.argv:
        w.W1(1)                               # openai imports its resources here unless a patch already did
        cold.update(first_call_ms=(time.perf_counter() - t0) * 1e3, rss_kb=rss_kb(), minstr=INSTRUCTIONS() / 1e6, modules=len(sys.modules),
                    threads=threading.active_count())
        REAL_OUT.write(json.dumps(cold) + "\n")
        REAL_OUT.flush()
        os._exit(0)
    REAL_OUT.write(json.dumps({"ready": name}) + "\n")
    for line in sys.stdin:
        job = json.loads(line)
        run = getattr(w, job.get("w", "W1"))
        try:
            if job["op"] == "time":
                out = sample(run, job["n"])
            elif job["op"] == "begin":
                out = {"begun": INSTRUCTIONS.begin()}
            elif job["op"] == "mem":
                out = memory(run, job["n"], job["trace"])
            elif job["op"] == "profile":
                out = {"text": profile(run, job["n"], job["top"])}
            elif job["op"] == "check":
                from check import check
                out = check(contender, tel, w)
            elif job["op"] == "spin":             # for py-spy
                end = time.monotonic() + job["seconds"]
                while time.monotonic() < end:
                    run(job["n"])
                out = {}
        except Exception as e:                    # reported in the table, never hidden
            out = {"error": f"{type(e).__name__}: {e}"[:500]}
        REAL_OUT.write(json.dumps(out) + "\n")
    os._exit(0)


main()
