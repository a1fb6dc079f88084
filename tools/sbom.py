#!/usr/bin/env python3
"""Write what an installation brings along, as CycloneDX documents: of the core, and of each extra.

    tools/sbom.py [FOLDER]    into dist/sbom, if no folder is named

Each document is made of a virtual environment in which the wheel was installed, with the versions of constraints.txt.
It holds every package with its version, its dependencies, and the licence that it declares. The same sources make the
same bytes. Exits 1 where a document is not valid by the CycloneDX schema, or not complete.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
CONSTRAINTS = ROOT / "constraints.txt"
NAME = "otel-harn-steps"


def run(*command: object) -> None:
    """Run a program in this checkout."""
    subprocess.run([str(each) for each in command], check=True, cwd=ROOT)


def uv(*arguments: object) -> None:
    """Run uv, without its reports."""
    run(PROGRAMS / "uv", arguments[0], "--quiet", *arguments[1:])


def normal(name: str) -> str:
    """A package's name, as package indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def document(wheel: Path, extra: str | None, pyproject: Path, folder: Path) -> Path:
    """Install the wheel with an extra, and write what is there then."""
    python = folder / (extra or "core") / "bin" / "python"
    uv("venv", "--python", sys.executable, python.parent.parent)
    wanted = f"{NAME}{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}"
    uv("pip", "install", "--python", python, "--constraint", CONSTRAINTS, wanted)
    written = folder / f"{NAME}{f'-{extra}' if extra else ''}.cdx.json"
    run(
        *(PROGRAMS / "cyclonedx-py", "environment", "--pyproject", pyproject, "--mc-type", "library"),
        *("--output-reproducible", "--validate", "--output-file", written, python),
    )
    return written


def problems(bom: dict[str, Any], version: str, wanted: set[str], pinned: dict[str, set[str]]) -> list[str]:
    """What is missing in a document, or not as it was tested.

    Args:
        bom: the document.
        version: of this project.
        wanted: the names of the packages that the project itself asks for.
        pinned: the versions of constraints.txt by name.
    """
    main, components = bom["metadata"]["component"], bom["components"]
    found = {normal(each["name"]): each["version"] for each in components}
    wrong = [f"{name} is missing" for name in sorted(wanted - set(found))]
    wrong += [
        f"{name} {installed} is not what constraints.txt has"
        for name, installed in sorted(found.items())
        if installed not in pinned.get(name, set())
    ]
    if (main["name"], main.get("version")) != (NAME, version):
        wrong.append(f"it is about {main['name']} {main.get('version')}")
    return wrong


def names_of(requirements: list[str]) -> set[str]:
    """The names in requirements, without those of this project's own extras."""
    from packaging.requirements import Requirement  # noqa: PLC0415 -- the tests of this file need nothing installed

    return {normal(Requirement(each).name) for each in requirements} - {NAME}


def main() -> int:
    """Write the documents. Returns the exit code."""
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist" / "sbom"
    into.mkdir(parents=True, exist_ok=True)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    pinned: dict[str, set[str]] = {}
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition(" ;")[0].partition("==")
        pinned.setdefault(normal(name), set()).add(version)
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        uv("build", "--wheel", "--out-dir", folder, ROOT)
        (wheel,) = folder.glob("*.whl")
        version = wheel.name.split("-")[1]
        # With the version that the build has found: the document is about that.
        pyproject = folder / "pyproject.toml"
        pyproject.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'), encoding="utf-8")
        extras = (None, *project["optional-dependencies"])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            documents = list(pool.map(lambda extra: document(wheel, extra, pyproject, folder), extras))
        for extra, written in zip(extras, documents, strict=True):
            bom = json.loads(written.read_text(encoding="utf-8"))
            asked_for = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
            wrong = problems(bom, version, names_of(asked_for), pinned)
            failed = failed or bool(wrong)
            (into / written.name).write_bytes(written.read_bytes())
            print(f"{written.name}: {len(bom['components'])} packages{''.join(f'; {each}' for each in wrong)}")
    print(f"in {into}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
