"""Each framework in an environment of its own, over aimock, whose responses report chosen usage and whose journal is the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coexistence.matrix import ROOT
from tests.integration.coexistence.venvs import python_of
from tests.integration.fakes.aimock import AIMock, aimock

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / "environments"
STEP_SOURCES = HERE.parents[1] / "frameworks" / "environments"


@dataclass(frozen=True, slots=True)
class Played:
    """One scene, as `scenes.play` printed it."""

    scene: str
    wire: list[list[int]]
    steps: list[dict[str, Any]]
    call_spans: list[str]
    theirs: Any

    @property
    def outer(self) -> dict[str, Any]:
        """The scene's own step."""
        return next(spent for spent in self.steps if spent["path"] == self.scene)

    @property
    def sent(self) -> list[int]:
        return [sum(usage[1] for usage in self.wire), sum(usage[2] for usage in self.wire)]

    @property
    def billed(self) -> list[int]:
        return [sum(spent["tokens"][place] for spent in self.steps) for place in (0, 1)]


@pytest.fixture(scope="module")
def fake() -> Iterator[AIMock]:
    with aimock(HERE / "answers.json") as running:
        yield running


def played(fake: AIMock, framework: str, environments: Path | None = ENVIRONMENTS) -> list[Played]:
    """The scenes of a framework, each of which must have gone well. Without environments they play in this one."""
    python = sys.executable if environments is None else python_of(framework, environments)
    command = [python, "-m", f"tests.integration.through_frameworks.on_{framework.replace('-', '_')}"]
    # No provider's address: frameworks look whether there is one, and take another way (dspy: litellm, not its own
    # engine). The scenes give it where they make a model.
    environment = {
        **{name: value for name, value in os.environ.items() if not name.endswith(("_BASE_URL", "_API_BASE"))},
        "AIMOCK_URL": fake.url,
        "OPENAI_API_KEY": "test",
        "ANTHROPIC_API_KEY": "test",
        "ANTHROPIC_OPEN_TELEMETRY": "false",
        "CREWAI_DISABLE_TELEMETRY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"scene"')]
    return [Played(**json.loads(line)) for line in lines]


def billed_once(scenes: Sequence[Played]) -> None:
    """Every answer of every scene was billed once, and has one span of ours."""
    assert scenes
    for scene in scenes:
        calls = sum(spent["calls"] for spent in scene.steps)
        assert (calls, len(scene.call_spans)) == (len(scene.wire), len(scene.wire)), scene
        assert scene.billed == scene.sent, scene
        assert sum(spent["unmetered"] for spent in scene.steps) == 0, scene


def apart(scenes: Sequence[Played]) -> int:
    """In how many scenes a tool made a call of its own: it was billed to the tool's step and to no other."""
    inner = [(scene, spent) for scene in scenes for spent in scene.steps if spent["path"].endswith("/inside")]
    for scene, spent in inner:
        assert (spent["calls"], spent["tokens"]) == (1, [31, 7]), scene
    return len(inner)


def agree(scenes: Sequence[Played]) -> None:
    """What the framework counts is what the step around it spent."""
    for scene in scenes:
        assert scene.theirs[:2] == scene.outer["tokens"], scene


def test_openai_agents_counts_what_is_billed(fake: AIMock) -> None:
    scenes = played(fake, "openai-agents", STEP_SOURCES)
    billed_once(scenes)
    agree(scenes)
    assert apart(scenes) == 3


def test_pydantic_ai_counts_what_is_billed_to_the_dollar(fake: AIMock) -> None:
    scenes = played(fake, "pydantic-ai")
    billed_once(scenes)
    agree(scenes)
    for scene in scenes:
        assert scene.theirs[2] == scene.outer["cost_usd"], scene


def test_smolagents_counts_what_is_billed(fake: AIMock) -> None:
    scenes = played(fake, "smolagents")
    billed_once(scenes)
    agree(scenes)
    assert apart(scenes) == 1


def test_langchain_over_openai_anthropic_and_google(fake: AIMock) -> None:
    scenes = played(fake, "langchain")
    billed_once(scenes)
    agree([scene for scene in scenes if scene.theirs is not None])
    assert apart(scenes) == 6


def test_dspy_and_litellm_over_a_client_and_over_their_own_transport(fake: AIMock) -> None:
    scenes = played(fake, "dspy")
    billed_once(scenes)
    agree([scene for scene in scenes if scene.theirs is not None])


def test_every_answer_that_instructor_asks_for_again_counts(fake: AIMock) -> None:
    scenes = played(fake, "instructor")
    billed_once(scenes)
    agree([scene for scene in scenes if scene.theirs is not None])
    assert [len(scene.wire) for scene in scenes] == [1, 2, 2, 1, 2]


def test_crewai_is_billed_what_was_sent(fake: AIMock) -> None:
    billed_once(played(fake, "crewai", STEP_SOURCES))


def test_llama_index(fake: AIMock) -> None:
    scenes = played(fake, "llama-index")
    billed_once(scenes)
    assert apart(scenes) == 1


def test_a_client_in_a_tool_that_a_client_calls_by_itself(fake: AIMock) -> None:
    scenes = played(fake, "clients", None)
    billed_once(scenes)
    assert apart(scenes) == len(scenes) == 7
