#!/usr/bin/env python3
"""Ask pip-audit for known vulnerabilities in the versions of constraints.txt.

    tools/audit.py

Exits 1 where a package that an installation of the core or of an extra brings along has one. One in a package that only
development needs is a warning. What could not be asked about is said to be unaudited, and never to be free of
vulnerabilities: pip-audit itself calls that "No known vulnerabilities found", and exits 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
CONSTRAINTS = ROOT / "constraints.txt"
SERVICES = ("pypi", "osv")


@dataclass
class Audit:
    """What is known of some packages.

    Attributes:
        audited: how many were asked about with an answer.
        unaudited: the names of those for which there was none.
        vulnerable: a line for each known vulnerability.
    """

    audited: int = 0
    unaudited: list[str] = field(default_factory=list)
    vulnerable: list[str] = field(default_factory=list)


def read(answer: dict[str, Any] | None, asked: list[str]) -> Audit:
    """What pip-audit's JSON says of the packages `asked`; None: it said nothing.

    A package that it leaves out is not for this platform, and is not unaudited.
    """
    if answer is None:
        return Audit(unaudited=asked)
    audit = Audit()
    for each in answer["dependencies"]:
        if "skip_reason" in each:
            audit.unaudited.append(each["name"])
            continue
        audit.audited += 1
        for found in each["vulns"]:
            fixed = f", mended in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else ""
            audit.vulnerable.append(f"{each['name']} {each['version']}: {found['id']}{fixed}")
    return audit


def verdict(installed: Audit, development: Audit | None) -> tuple[int, list[str]]:
    """The exit code, and what to say.

    Args:
        installed: of what an installation brings along.
        development: of what only development needs; None: nobody was asked.
    """
    lines = [f"VULNERABLE, and installed with the package: {each}" for each in installed.vulnerable]
    lines += [f"warning, in development only: {each}" for each in (development.vulnerable if development else ())]
    if not installed.audited:
        lines.append(
            f"NOT AUDITED: the data on vulnerabilities could not be reached. "
            f"{len(installed.unaudited)} packages, pinned in constraints.txt, are listed by `make sbom`"
        )
        return 0, lines
    for audit, what in ((installed, "an installation's"), (development, "development's")):
        if audit is not None:
            lines.append(f"{what} packages: {audit.audited} audited, {len(audit.vulnerable)} vulnerabilities known")
            if audit.unaudited:
                lines.append(f"NOT AUDITED, of {what} packages: {', '.join(audit.unaudited)}")
    return int(bool(installed.vulnerable)), lines


def ask(pins: list[str]) -> Audit:
    """Ask the services, one after the other, until one knows anything."""
    names = [each.partition("==")[0] for each in pins]
    audit = Audit(unaudited=names)
    for service in SERVICES:
        audit = read(_answer_of(service, pins), names)
        if audit.audited:
            break
    return audit


def _answer_of(service: str, pins: list[str]) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        wanted, answer = Path(folder, "pins.txt"), Path(folder, "answer.json")
        wanted.write_text("\n".join(pins), encoding="utf-8")
        try:
            subprocess.run(
                [PROGRAMS / "pip-audit", "--requirement", wanted, "--no-deps", "--disable-pip", "--format", "json",
                 "--vulnerability-service", service, "--progress-spinner", "off", "--output", answer],
                check=False, capture_output=True, timeout=300,
            )  # fmt: skip
            return dict(json.loads(answer.read_text(encoding="utf-8")))
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None


def pins_of_installation() -> set[str]:
    """The lines of constraints.txt that the core and its extras bring along."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    resolved = subprocess.run(
        [PROGRAMS / "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--no-header",
         "--no-annotate", "--constraint", CONSTRAINTS, *(f"--extra={each}" for each in extras),
         ROOT / "pyproject.toml"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {each.partition(" ;")[0] for each in resolved.stdout.splitlines()}


def main() -> int:
    """Ask, and say what is known. Returns the exit code."""
    pins = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    ours = pins_of_installation()
    installed = ask([each for each in pins if each.partition(" ;")[0] in ours])
    # Where nothing is known of these, nothing will be of the many others.
    development = ask([each for each in pins if each.partition(" ;")[0] not in ours]) if installed.audited else None
    code, lines = verdict(installed, development)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
