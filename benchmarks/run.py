#!/usr/bin/env python3
"""Drives the contenders: one worker process each, rounds interleaved in shuffled order. See README.md."""
import tempfile
import argparse
import json
import os
import platform
import random
import re
import statistics as st
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENV = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/root"), "PYTHONPATH": str(HERE),
       "OPENAI_API_KEY": "bench", "LC_ALL": "C.UTF-8"}    # nothing of the caller's OTEL_* leaks in
HZ = os.sysconf("SC_CLK_TCK")
METRICS = {"wall_us": "wall us", "cpu_us": "CPU us", "kinstr": "thousand instructions"}
ALL = ["bare", "bare_again", "otel_floor", "otel_floor_min", "otel_same",
       "genai_openai", "openai_v2", "openllmetry", "openinference", "openlit", "logfire_", "langfuse_", "agentbudget_", "cendor", "ours", "ours_steps_only", "ours_journal", "ours_reserve"]
QUICK = ["bare", "otel_floor", "otel_same", "ours", "ours_steps_only", "ours_journal", "ours_reserve"]


def workloads():
    text = (HERE / "workloads.py").read_text()
    scope = {}
    exec(text[text.index("WORKLOADS = {"):], scope)          # run.py itself needs no openai
    return scope["WORKLOADS"]


def venv_of(name):
    text = (HERE / "contenders" / f"{name}.py").read_text()
    found = re.search(r'venv = "(\w+)"', text)
    return found[1] if found else "base"


def python_of(name, root):
    return Path(root) / venv_of(name) / "bin" / "python"


class Worker:
    def __init__(self, name, python, *flags, prefix=(), env=ENV):
        self.name = name
        self.err = open(os.path.join(tempfile.gettempdir(), f"bench_{name}.err"), "w")
        self.p = subprocess.Popen([*prefix, python, str(HERE / "worker.py"), name, *flags], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=self.err, text=True, env=env, cwd=tempfile.gettempdir())
        self.alive = "ready" in self._read()

    def _read(self):
        line = self.p.stdout.readline()
        return json.loads(line) if line else {"error": "worker died; see " + self.err.name}

    def ask(self, **job):
        self.p.stdin.write(json.dumps(job) + "\n")
        self.p.stdin.flush()
        return self._read()

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def busy():
    """CPU seconds all processes have used so far."""
    f = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(f) - f[3] - f[4]) / HZ


def quiet_ask(worker, args, job):
    """Take a sample again if it was disturbed: the process did not get its core (every workload is CPU-bound, so
    wall should equal CPU time), or others used more than args.foreign cores meanwhile."""
    for attempt in range(args.retries + 1):
        b0, t0 = busy(), time.monotonic()
        out = worker.ask(**job)
        wall = time.monotonic() - t0
        if "error" in out:
            return out
        out["wait"] = 1 - out["cpu_us"] / out["wall_us"]
        out["foreign"] = max(0.0, (busy() - b0) / wall - out["cpu_us"] / out["wall_us"])
        if out["wait"] <= args.wait and out["foreign"] <= args.foreign:
            break
        time.sleep(0.02 * (attempt + 1))
    return out


def timings(args, names, table):
    samples = {w: {n: [] for n in names} for w in args.workloads}
    errors, rng = {}, random.Random(args.seed)
    for generation in range(args.generations):
        workers = [Worker(n, python_of(n, args.venvs)) for n in names]
        for w in [w for w in workers if not w.alive]:
            errors.setdefault(w.name, "did not start; see " + w.err.name)
        workers = [w for w in workers if w.alive]
        for w in workers:                                    # warm-up
            for load in args.workloads:
                out = w.ask(op="time", w=load, n=max(1, table[load][0] // 2))
                if "error" in out:
                    errors.setdefault(f"{w.name} {load}", out["error"])
        for round_ in range(args.rounds):
            for load in args.workloads:
                rng.shuffle(workers)
                for w in workers:
                    if f"{w.name} {load}" not in errors:
                        out = quiet_ask(w, args, {"op": "time", "w": load, "n": table[load][0]})
                        samples[load][w.name].append({**out, "at": (generation, round_)})
            print(f"generation {generation + 1} round {round_ + 1} done, load {os.getloadavg()[0]:.2f}", flush=True)
        for w in workers:
            w.close()
    return samples, errors


def summarise(samples, base="bare", floor="otel_floor"):
    """Per workload and contender: the median difference to bare within the same round, its quartiles, and the
    ratio of that to the floor's; and the difference of the least samples, which a busy machine inflates less."""
    out = {}
    for load, by_name in samples.items():
        ref = {tuple(s["at"]): s for s in by_name[base]}
        rows = out[load] = {}
        for name, ss in by_name.items():
            if not ss:
                continue
            row = rows[name] = {"n": len(ss), "foreign": round(st.median(s["foreign"] for s in ss), 2),
                                "wait": round(st.median(s["wait"] for s in ss), 3)}
            for m in METRICS:
                diff = [s[m] - ref[tuple(s["at"])][m] for s in ss]
                q = st.quantiles(diff, n=4) if len(diff) > 1 else [diff[0]] * 3
                row[m] = {"total": st.median(s[m] for s in ss), "over": st.median(diff), "q1": q[0], "q3": q[2],
                          "best": min(s[m] for s in ss) - (min(s[m] for s in by_name[base]) if name != base else 0)}
        for row in rows.values():
            for m in METRICS:
                row[m]["ratio"] = row[m]["over"] / (rows[floor][m]["over"] or 1) if floor in rows else 0
    return out


def print_table(summary, metric):
    loads = list(summary)
    print(f"\n{METRICS[metric]} over bare per unit: median of paired differences [least sample less bare's least] "
          "(ratio of the medians to otel_floor's); bare's own row: totals")
    print("| contender | " + " | ".join(loads) + " |\n|---" + "|---" * len(loads) + "|")
    for name in summary[loads[0]]:
        cells = []
        for load in loads:
            cell = summary[load].get(name, {}).get(metric)
            cells.append("fail" if cell is None else f"{cell['total']:.1f} [{cell['best']:.1f}]"
                         if name == "bare" else f"{cell['over']:.1f} [{cell['best']:.1f}] ({cell['ratio']:.2f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


def cold(args, names):
    """Start-up: import + instrument and RSS in fresh processes, interleaved; the first of each only warms caches."""
    runs = {n: [] for n in names}
    for round_ in range(args.cold + 1):
        for n in random.sample(names, len(names)):
            for _ in range(args.retries + 1):
                b0, t0 = busy(), time.monotonic()
                p = subprocess.run([python_of(n, args.venvs), str(HERE / "worker.py"), n, "--cold"],
                                   capture_output=True, text=True, env=ENV, cwd=tempfile.gettempdir())
                wall = time.monotonic() - t0
                if p.returncode or (busy() - b0) / wall - 1 <= args.foreign:
                    break
            if round_ and p.returncode == 0:
                r = json.loads(p.stdout.strip().splitlines()[-1])
                r["total_ms"] = r["openai_ms"] + r["import_ms"] + r["setup_ms"] + r["first_call_ms"]
                runs[n].append(r)
    med = {n: {k: st.median(r[k] for r in rs) for k in rs[0]} for n, rs in runs.items() if rs}
    print("\nstart-up, medians over bare (bare's own row: totals)\n| contender | import ms | instrument() ms "
          "| until the first call is back ms | same, million instructions | RSS MB then | modules | threads |\n"
          "|---|---|---|---|---|---|---|---|")
    for n, r in med.items():
        b = dict.fromkeys(r, 0) if n == "bare" else med["bare"]
        print(f"| {n} | {r['openai_ms'] + r['import_ms'] - b['openai_ms'] - b['import_ms']:.0f} | {r['setup_ms']:.0f} | "
              f"{r['total_ms'] - b['total_ms']:.0f} | {r['minstr'] - b['minstr']:.0f} | {(r['rss_kb'] - b['rss_kb']) / 1024:.1f} | "
              f"{r['modules'] - b['modules']:.0f} | {r['threads']:.0f} |")
    return med


def in_fresh(args, names, op, *flags, **job):
    """The job in a fresh process of each contender, args.jobs at a time."""
    def one(n):
        w = Worker(n, python_of(n, args.venvs), *flags)
        out = w.ask(op=op, **job) if w.alive else {"error": "did not start; see " + w.err.name}
        w.close()
        return out
    with ThreadPoolExecutor(args.jobs) as pool:
        return dict(zip(names, pool.map(one, names)))


def memory(args, names):
    """RSS growth over args.steps steps; in other processes, what tracemalloc says is still held after a part of them."""
    w = args.mem_workload
    rss = in_fresh(args, names, "mem", w=w, n=args.steps, trace=False)
    traced = in_fresh(args, names, "mem", w=w, n=args.trace_steps, trace=True)
    print(f"\nafter {args.steps} {w} steps ({args.trace_steps} for tracemalloc)\n| contender | RSS growth KB "
          "| retained KB (tracemalloc) | bytes/step | top |\n|---|---|---|---|---|")
    for n in names:
        if "error" in rss[n] or "error" in traced[n]:
            print(f"| {n} | {rss[n].get('error')} {traced[n].get('error')} |")
            continue
        print(f"| {n} | {rss[n]['rss_growth_kb']} | {traced[n]['retained_kb']:.0f} | "
              f"{traced[n]['retained_kb'] * 1024 / args.trace_steps:.1f} | {'; '.join(traced[n]['top'][:2])} |")
    return {"rss": rss, "traced": traced}


def counted(python, name, jobs, samples=1, seed=0):
    """Thousand instructions per unit of each job by callgrind, the median of the samples, in a process of its own.

    `jobs` maps a workload to the number of its units in a sample. {"error": why} where the process does not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        out_file = os.path.join(folder, "callgrind")
        valgrind = ("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out_file}", "--instr-atstart=no",
                    "--dump-before=getppid")
        w = Worker(name, python, prefix=valgrind, env={**ENV, "BENCH_CALLGRIND": out_file, "PYTHONHASHSEED": str(seed)})
        if not w.alive:
            return {"error": "did not start; see " + w.err.name}
        asked = {load: {"op": "time", "w": load, "n": n} for load, n in jobs.items()}
        warm = {load: w.ask(**job) for load, job in asked.items()}
        begun = w.ask(op="begin")
        taken = {load: [w.ask(**job) for _ in range(samples)] for load, job in asked.items()} if "begun" in begun else {}
        w.close()
    failed = {load: answer["error"] for load, answer in [*warm.items(), ("begin", begun)] if "error" in answer}
    counts = {load: st.median(each["kinstr"] for each in ss) for load, ss in taken.items() if load not in failed}
    return {**counts, **({"error": "; ".join(f"{load}: {error}" for load, error in failed.items())} if failed else {})}


def instructions(args, names, table):
    """Instructions per unit by callgrind, over bare and as a ratio to the floor's. Deterministic to about a percent,
    so one sample each is enough, on the busiest machine; needs valgrind and no rights."""
    jobs = {load: max(2, table[load][0] // 10) if load != "W3" else 1 for load in args.workloads}
    with ThreadPoolExecutor(args.jobs) as pool:
        found = dict(zip(names, pool.map(lambda name: counted(python_of(name, args.venvs), name, jobs), names)))
    print("\nthousand instructions over bare per unit, by callgrind (ratio to otel_floor's); bare's own row: totals\n"
          "| contender | " + " | ".join(args.workloads) + " |\n|---" + "|---" * len(args.workloads) + "|")
    for name, counts in found.items():
        cells = []
        for load in args.workloads:
            count, base = counts.get(load), found["bare"][load]
            if count is None or name == "bare":
                cells.append("fail" if count is None else f"{count:.0f}")
                continue
            floor = found.get("otel_floor", {}).get(load)
            cells.append(f"{count - base:.0f}" + (f" ({(count - base) / (floor - base):.2f})" if floor else ""))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return found


def import_cost(args):
    """What `import otel_harn_steps` adds to `import opentelemetry.trace`: medians over fresh processes."""
    code = ("import sys, time; import opentelemetry.trace; m0 = set(sys.modules); t0 = time.perf_counter_ns(); "
            "import otel_harn_steps; t1 = time.perf_counter_ns(); "
            "print((t1 - t0) / 1e6, *sorted(set(sys.modules) - m0))")
    runs = []
    for _ in range(args.imports + 1):                            # the first one writes the bytecode
        out = subprocess.run([python_of("ours", args.venvs), "-c", code], capture_output=True, text=True, env=ENV,
                             cwd=tempfile.gettempdir(), check=True).stdout.split()
        runs.append(float(out[0]))
    ms, modules = sorted(runs[1:]), out[1:]
    third = [m for m in modules if not m.startswith("otel_harn_steps")]
    print(f"\nimport otel_harn_steps over opentelemetry.trace: median {st.median(ms):.1f} ms, least {ms[0]:.1f} ms of {len(ms)} "
          f"processes; {len(modules)} modules, not ours: {', '.join(third) or 'none'}")
    return {"ms": ms, "modules": modules}


def check(args, names):
    out = in_fresh(args, names, "check", "--keep")
    print("\ncorrectness: steps whose telemetry had the right token counts / steps (spans per step)")
    for n, r in out.items():
        if "error" in r:
            print(f"{n}: {r['error']}")
            continue
        cells = []
        for load in ("W1", "W2", "W3", "W4", "W6"):
            c = r[load]
            cell = f"{load} {c['steps_right']}/{c['steps']} ({c['spans_per_step']})"
            if c["orphans"]:
                cell += f" {c['orphans']} call spans outside a step, {'right' if c['orphans_right'] else 'WRONG'}"
            if "counter" in c:
                cell += f" counter {'ok' if c['counter'] == c['counter_expected'] else c['counter']}"
            cells.append(cell)
        print(f"{n}: " + ", ".join(cells) + f", W5 {r['W5']['spans']} spans depth {r['W5']['depth']}")
    return out


def versions(args, names):
    keep = re.compile(r"(openai|opentelemetry-(sdk|instrumentation[\w-]*|util-genai)|httpx2?|wrapt|pydantic|traceloop-sdk|"
                      r"openinference[\w-]*|openlit|logfire|langfuse|agentbudget|cendor[\w-]*|otel.harn.*)( @ .*/|==)(.*)$")
    out = {}
    for v in sorted({venv_of(n) for n in names}):
        lines = (Path(args.venvs) / v / ".ok").read_text().splitlines()
        out[v] = [line for line in lines if keep.match(line)]
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("phases", nargs="*", default=["check", "time", "imports", "cold"], help="check time instructions imports cold mem profile")
    p.add_argument("--quick", action="store_true", help="check, instructions and imports of ours against the floor: some minutes")
    p.add_argument("--contenders", default=",".join(ALL))
    p.add_argument("--workloads", default=",".join(workloads()))
    p.add_argument("--rounds", type=int, default=4)
    p.add_argument("--generations", type=int, default=3, help="fresh sets of processes; each runs --rounds")
    p.add_argument("--ours", help="a directory with another otel_harn_steps than the installed one, to compare two")
    p.add_argument("--imports", type=int, default=15, help="fresh processes of the import measurement")
    p.add_argument("--cold", type=int, default=7, help="fresh processes per contender")
    p.add_argument("--steps", type=int, default=100_000)
    p.add_argument("--trace-steps", type=int, default=20_000)
    p.add_argument("--jobs", type=int, default=1, help="processes at once in check, mem and profile")
    p.add_argument("--mem-workload", default="W1b")
    p.add_argument("--foreign", type=float, default=0.25, help="cores others may use during a sample")
    p.add_argument("--wait", type=float, default=0.1, help="share of a sample the process may spend off its core")
    p.add_argument("--retries", type=int, default=2)
    p.add_argument("--venvs", default=os.environ.get("BENCHVENVS", os.path.expanduser("~/.cache/harn-bench")))
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", default=str(HERE / "results.json"))
    args = p.parse_args()
    table = workloads()
    if args.ours:
        ENV["PYTHONPATH"] = f"{Path(args.ours).resolve()}:{HERE}"
    if args.quick:
        args.phases, args.contenders, args.jobs = ["check", "instructions", "imports"], ",".join(QUICK), os.cpu_count()
        args.workloads = ",".join(w for w in table if w not in ("W3", "W6"))   # these cost what W1 costs
    args.workloads = args.workloads.split(",")
    names = [n for n in args.contenders.split(",") if python_of(n, args.venvs).exists()]
    missing = [n for n in args.contenders.split(",") if n not in names]
    result = {"python": platform.python_version(), "machine": platform.platform(), "cpus": os.cpu_count(),
              "started": time.strftime("%F %T"), "skipped_no_venv": missing, "versions": versions(args, names)}
    if "check" in args.phases:
        result["check"] = check(args, names)
    if "time" in args.phases:
        samples, result["errors"] = timings(args, names, table)
        result["samples"], result["summary"] = samples, summarise(samples)
        for metric in METRICS:
            print_table(result["summary"], metric)
        print("errors:", json.dumps(result["errors"], indent=1))
    if "instructions" in args.phases:
        result["instructions"] = instructions(args, names, table)
    if "imports" in args.phases:
        result["imports"] = import_cost(args)
    if "cold" in args.phases:
        result["cold"] = cold(args, names)
    if "mem" in args.phases:
        result["mem"] = memory(args, names)
    if "profile" in args.phases:
        result["profile"] = {w: in_fresh(args, names, "profile", w=w, n=table[w][0] * 5, top=25) for w in args.workloads}
        for w, by in result["profile"].items():
            for n, r in by.items():
                print(f"==== {w} {n}\n{r.get('text', r)}")
    Path(args.out).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
