"""Gets the real programs of the backend tests (a Collector, Jaeger v2, Prometheus, VictoriaMetrics, Phoenix, Chromium),
and Valgrind for `make bench-gate`.

    python tools/backends.py collector|jaeger|prometheus|victoriametrics|phoenix|chromium|axe|valgrind|all ...

prints the path of each; `all` leaves out Phoenix, 855 MB of PyPI packages that only a slow test needs, and Valgrind. A
program is taken from PATH, else from the cache, else made: the Collector, Jaeger and VictoriaMetrics are built with
`go` from the Go module proxy (4, 8 and 1 minutes on two cores, once), Prometheus, Chromium and Valgrind are Debian's
packages, axe (a script that looks for what keeps people from reading a page) is a package of npm. The cache is
`~/.cache/otel-harn-steps/backends`, or the directory that OTEL_HARN_STEPS_BACKENDS names; it is outside the checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MANIFEST = Path(__file__).with_name("otelcol-builder.yaml")
JAEGER_MODULE = "github.com/jaegertracing/jaeger"
# v1.76.0 is the last tag that the go command accepts: the module's path has no /v2, so it refuses every v2 tag. The
# program `cmd/jaeger` in it is Jaeger v2, release v2.13.0.
JAEGER_VERSION = "v1.76.0"
VICTORIAMETRICS_MODULE = "github.com/VictoriaMetrics/VictoriaMetrics"
# The newest release that Go 1.26 builds: from v1.152.0 on they want Go 1.27. Its web pages are part of the module.
VICTORIAMETRICS_VERSION = "v1.151.0"
PHOENIX_VERSION = "20.26.1"
AXE_VERSION = "4.14.1"
BUILD_LIMIT_S = 45 * 60


@dataclass(frozen=True, slots=True)
class Missing:
    """A program that is not there, and what to do about it."""

    reason: str


class BuildError(Exception):
    """A step of a build ended with an error. The message has the last lines of what it said."""


def cache() -> Path:
    """The directory that keeps the programs."""
    named = os.environ.get("OTEL_HARN_STEPS_BACKENDS")
    return Path(named) if named else Path.home() / ".cache" / "otel-harn-steps" / "backends"


def manifest_version() -> str:
    """The release of the Collector that the manifest names."""
    found = re.search(r"^  version: (\S+)$", MANIFEST.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{MANIFEST} names no version")
    return found[1]


def find(name: str) -> Path | Missing:
    """The program `name`, from PATH or the cache; nothing is built or installed."""
    program = PROGRAMS[name]
    for command in program.commands:
        on_path = shutil.which(command)
        if on_path is not None and program.is_usable(Path(on_path)):
            return Path(on_path)
    cached = cache() / program.key() / program.commands[0]
    if cached.is_file():
        return cached
    return Missing(f"{name} is missing; get it with: python tools/backends.py {name}")


def get(name: str) -> Path | Missing:
    """The program `name`, made if need be: that can take many minutes the first time. Says why if it cannot be had."""
    found = find(name)
    if isinstance(found, Path):
        return found
    try:
        with _alone(name):
            found = find(name)  # Another process may have made it while this one waited.
            return found if isinstance(found, Path) else PROGRAMS[name].make()
    except (BuildError, OSError) as error:
        return Missing(f"{name} cannot be had: {error}")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], directory: Path, *, flags: str = "") -> str:
    """Run one step of a build and return what it printed. `flags` are added to GOFLAGS.

    `go install` puts programs into `directory`.
    """
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOBIN": str(directory),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -buildvcs=false {flags}".strip(),
    }
    try:
        ran = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise BuildError(f"`{command[0]}` did not end within {BUILD_LIMIT_S // 60} minutes") from expired
    if ran.returncode != 0:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if "go: downloading" not in line]
        raise BuildError(f"`{' '.join(command)}` failed:\n" + "\n".join(said[-12:]))
    return ran.stdout


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise BuildError("it is built with Go 1.26 or newer, and there is no `go` on PATH")
    return go


def _keep(built: Path, name: str, started: float) -> Path:
    """Move a finished program into the cache, in one step, with a note of what it is."""
    program = PROGRAMS[name]
    home = cache() / program.key()
    home.mkdir(parents=True, exist_ok=True)
    note = {
        "bytes": built.stat().st_size,
        "build_seconds": round(time.monotonic() - started),
        "go": _run([_go(), "version"], home).strip(),
    }
    (home / "build.json").write_text(json.dumps(note, indent=1) + "\n")
    kept = home / program.commands[0]
    shutil.move(built, kept.with_suffix(".new"))
    kept.with_suffix(".new").replace(kept)
    return kept


@contextmanager
def _workshop() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache()) as directory:
        yield Path(directory)


def _make_collector() -> Path:
    started = time.monotonic()
    go, version = _go(), manifest_version()
    with _workshop() as shop:
        _run([go, "install", f"go.opentelemetry.io/collector/cmd/builder@v{version}"], shop)
        manifest = shop / "manifest.yaml"
        manifest.write_text(MANIFEST.read_text().replace("dist:\n", f"dist:\n  output_path: {shop}/source\n", 1))
        # The builder would run `go mod tidy`, which wants the modules of the tests of all dependencies too, and not all
        # of those are served. So it writes the program only; from a go.mod of ours `-mod=mod` takes exactly the modules
        # that are compiled.
        _run([str(shop / "builder"), f"--config={manifest}", "--skip-compilation", "--skip-get-modules"], shop)
        modules = [
            *re.findall(r"gomod: (\S+ v\S+)", MANIFEST.read_text()),
            f"go.opentelemetry.io/collector/otelcol v{version}",
        ]
        (shop / "source" / "go.mod").write_text(
            "module example.invalid/otelcol-steps\n\ngo 1.25\n\nrequire (\n" + "\n".join(modules) + "\n)\n"
        )
        _run(
            [go, "build", "-trimpath", "-tags=grpcnotrace", "-ldflags=-s -w", "-o", "../otelcol-steps", "."],
            shop / "source",
            flags="-mod=mod",
        )
        return _keep(shop / "otelcol-steps", "collector", started)


def _make_jaeger() -> Path:
    started = time.monotonic()
    go = _go()
    with _workshop() as shop:
        module = json.loads(_run([go, "mod", "download", "-json", f"{JAEGER_MODULE}@{JAEGER_VERSION}"], shop))
        # `go install` refuses a module with replace directives, and this one has some; built from a copy it is fine.
        _run(["cp", "-r", "--no-preserve=mode", module["Dir"], "source"], shop)
        _run([go, "build", "-trimpath", "-ldflags=-s -w", "-o", "../jaeger", "./cmd/jaeger"], shop / "source")
        return _keep(shop / "jaeger", "jaeger", started)


def _make_victoriametrics() -> Path:
    started = time.monotonic()
    with _workshop() as shop:
        version = f"-X={VICTORIAMETRICS_MODULE}/lib/buildinfo.Version=victoria-metrics-{VICTORIAMETRICS_VERSION}"
        program = f"{VICTORIAMETRICS_MODULE}/app/victoria-metrics@{VICTORIAMETRICS_VERSION}"
        _run([_go(), "install", "-trimpath", f"-ldflags=-s -w {version}", program], shop)
        return _keep(shop / "victoria-metrics", "victoriametrics", started)


def _make_prometheus() -> Path:
    apt = shutil.which("apt-get")
    if apt is None:
        raise BuildError("install Prometheus (with promtool) and put both on PATH")
    if os.geteuid() != 0 or Path("/run/systemd/system").is_dir():
        # With systemd the package starts a server; that is for the owner of the machine to decide.
        raise BuildError("run `apt-get install --no-install-recommends prometheus` as root")
    home = cache()
    _run([apt, "update", "-qq"], home)
    _run(
        ["env", "DEBIAN_FRONTEND=noninteractive", apt, "install", "-qq", "-y", "--no-install-recommends", "prometheus"],
        home,
    )
    found = find("prometheus")
    if isinstance(found, Missing):
        raise BuildError("the Debian package brought no `prometheus` with a `promtool` next to it")
    return found


def _make_phoenix() -> Path:
    home = cache() / PROGRAMS["phoenix"].key()
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)], cache())
    _run([str(home / "bin" / "python"), "-m", "pip", "install", "-q", f"arize-phoenix=={PHOENIX_VERSION}"], home)
    # Last, so that a broken installation is not found.
    (home / "phoenix").symlink_to(home / "bin" / "phoenix")
    return home / "phoenix"


def _make_debian(package: str) -> Path:
    """Install the Debian package that has the program's name."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise BuildError(f"run `apt-get install --no-install-recommends {package}` as root, or put {package} on PATH")
    _run([apt, "update", "-qq"], cache())
    _run(
        ["env", "DEBIAN_FRONTEND=noninteractive", apt, "install", "-qq", "-y", "--no-install-recommends", package],
        cache(),
    )
    found = find(package)
    if isinstance(found, Missing):
        raise BuildError(f"the Debian package brought no `{package}`")
    return found


def _make_axe() -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError("it is fetched with npm, and there is no `npm` on PATH")
    home = cache() / PROGRAMS["axe"].key()
    home.mkdir(parents=True, exist_ok=True)
    with _workshop() as shop:
        _run([npm, "pack", "--silent", f"axe-core@{AXE_VERSION}"], shop)
        _run(["tar", "-xzf", f"axe-core-{AXE_VERSION}.tgz"], shop)
        shutil.copy(shop / "package" / "LICENSE", home)
        shutil.move(shop / "package" / "axe.min.js", home / "axe.min.js")
    return home / "axe.min.js"


def _says(*command: str) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout + ran.stderr if ran.returncode == 0 else ""


def _is_collector(path: Path) -> bool:
    """Whether the Collector at `path` has every component of the manifest, in that release or a newer one."""
    version = re.search(r"version v?(\d+)\.(\d+)", _says(str(path), "--version"))
    if version is None:
        return False
    wanted = manifest_version().split(".")
    if (int(version[1]), int(version[2])) < (int(wanted[0]), int(wanted[1])):
        return False
    has = _says(str(path), "components")
    return all(
        module in has for module in re.findall(r"gomod: (\S+) ", MANIFEST.read_text()) if "/provider/" not in module
    )


def _is_jaeger(path: Path) -> bool:
    # The program of Jaeger v1 was called jaeger-all-in-one.
    return "--config" in _says(str(path), "--help")


def _is_victoriametrics(path: Path) -> bool:
    return "-vmui.customDashboardsPath" in _says(str(path), "--help")


def _is_prometheus(path: Path) -> bool:
    return path.with_name("promtool").is_file()


@dataclass(frozen=True, slots=True)
class _Program:
    commands: tuple[str, ...]
    key: Callable[[], str]
    is_usable: Callable[[Path], bool]
    make: Callable[[], Path]


PROGRAMS = {
    "collector": _Program(
        ("otelcol-steps", "otelcol-contrib", "otelcol"),
        lambda: f"otelcol-{manifest_version()}-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]}",
        _is_collector,
        _make_collector,
    ),
    "jaeger": _Program(("jaeger",), lambda: f"jaeger-{JAEGER_VERSION}", _is_jaeger, _make_jaeger),
    "prometheus": _Program(("prometheus",), lambda: "prometheus", _is_prometheus, _make_prometheus),
    "victoriametrics": _Program(
        ("victoria-metrics",),
        lambda: f"victoriametrics-{VICTORIAMETRICS_VERSION}",
        _is_victoriametrics,
        _make_victoriametrics,
    ),
    # Never from PATH: other programs have that name, and asking this one takes half a minute.
    "phoenix": _Program(("phoenix",), lambda: f"phoenix-{PHOENIX_VERSION}", lambda _: False, _make_phoenix),
    "chromium": _Program(("chromium",), lambda: "chromium", lambda _: True, lambda: _make_debian("chromium")),
    "axe": _Program(("axe.min.js",), lambda: f"axe-{AXE_VERSION}", lambda _: False, _make_axe),
    "valgrind": _Program(
        ("valgrind",),
        lambda: "valgrind",
        lambda path: path.with_name("vgdb").is_file(),
        lambda: _make_debian("valgrind"),
    ),
}


def main(arguments: list[str]) -> int:
    """Print the path of each program that is asked for; 1 if one cannot be had."""
    most = [name for name in PROGRAMS if name not in ("phoenix", "valgrind")]
    names = [name for argument in arguments for name in (most if argument == "all" else [argument])]
    if not names or not set(names) <= set(PROGRAMS):
        print(f"usage: python tools/backends.py {'|'.join(PROGRAMS)}|all ...", file=sys.stderr)
        return 2
    got = [get(name) for name in names]
    for each in got:
        print(
            each if isinstance(each, Path) else each.reason, file=sys.stdout if isinstance(each, Path) else sys.stderr
        )
    return 0 if all(isinstance(each, Path) for each in got) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
