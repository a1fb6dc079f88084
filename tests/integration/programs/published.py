"""Command line programs that others have published, with what is asked of them and what the provider says to them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.programs.stand_in import MODEL, Says

CLAUDE = "claude-sonnet-4-5-20250929"
GPT_5_MINI = "gpt-5-mini-2025-08-07"
GREETING = "print('hi')\n"
GREETS = "print('hello, world')\n"


@dataclass(frozen=True, slots=True)
class Published:
    """A program as its user starts it, in a Git repository with `greet.py`.

    Args:
        name: of the test.
        environment: the pinned requirements, in `environments/`.
        command: what the user types.
        script: what the provider says, by a phrase in what it is asked.
        prints: a part of stdout.
        model: as the provider names it.
        makes: files in the repository afterwards.
        prepare: is given the home, the repository and the program's environment before it starts.
    """

    name: str
    environment: str
    command: Sequence[str]
    script: Mapping[str, Sequence[Says]]
    prints: str
    model: str = MODEL
    makes: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Path, Path, Path], object] | None = None

    @property
    def provider(self) -> str:
        return "anthropic" if self.model == CLAUDE else "openai"


def _bash(command: str) -> Says:
    return Says("I run it.", tool="bash", arguments={"command": command})


def _mini(name: str, *options: str, model: str = MODEL) -> Published:
    last = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat counted.txt"
    answers = [_bash("echo one > counted.txt"), _bash("echo two >> counted.txt; wc -l counted.txt"), _bash(last)]
    command = ["mini", *options, "--yolo", "--exit-immediately", "--task", "Count to two", "--output", "run.json"]
    makes = {"counted.txt": "one\ntwo\n"}
    return Published(name, "mini-swe-agent", command, {"Count": answers}, "2 counted.txt", model, makes)


_WHOLE = Says(f"I greet the world.\n\ngreet.py\n```\n{GREETS}```\n")
_EDIT = Says(f"I greet the world.\n\ngreet.py\n```\n<<<<<<< SEARCH\n{GREETING}=======\n{GREETS}>>>>>>> REPLACE\n```\n")
_HISTORY = "".join(f"#### Please count to {number} for me\n\nI have counted to {number}.\n\n" for number in range(60))


def _aider(
    name: str,
    model: str,
    *options: str,
    says: Says = _WHOLE,
    others: Mapping[str, Sequence[Says]] | None = None,
    answers_as: str = MODEL,
    prepare: Callable[[Path, Path, Path], object] | None = None,
) -> Published:
    quiet = ["--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-show-release-notes"]
    asked = ["--yes-always", "--message", "Greet the world", "greet.py"]
    command = ["aider", "--model", model, *quiet, "--no-pretty", *options, *asked]
    script = {**(others or {}), "Greet the world": [says]}
    prints = "Applied edit to greet.py"
    return Published(name, "aider-chat", command, script, prints, answers_as, {"greet.py": GREETS}, prepare)


def _restored_chat(_home: Path, repository: Path, _python: Path) -> None:
    text = f"# aider chat started at 2026-01-01 00:00:00\n\n{_HISTORY}"
    (repository / ".aider.chat.history.md").write_text(text, encoding="utf-8")


def _llm(name: str, *options: str, model: str = MODEL) -> Published:
    says = {"Say hello": [Says("Hello to all of you")]}
    return Published(name, "llm", ["llm", *options, "Say hello"], says, "Hello to all of you", model)


def _llm_tools(name: str, *options: str, model: str = MODEL) -> Published:
    command = ["llm", *options, "--functions", "def double(n: int) -> int:\n    return 2 * n\n", "Double 21"]
    answers = [Says(tool="double", arguments={"n": 21}), Says("It is 42")]
    return Published(name, "llm", command, {"Double 21": answers}, "It is 42", model)


def _functions(home: Path, _repository: Path, python: Path) -> None:
    """What `sgpt --install-functions` does."""
    (source,) = python.parent.parent.glob("lib/*/site-packages/sgpt/llm_functions/common/execute_shell.py")
    folder = home / ".config" / "shell_gpt" / "functions"
    folder.mkdir(parents=True)
    shutil.copy(source, folder)


def _sgpt(name: str, *options: str) -> Published:
    command = ["sgpt", "--model", "gpt-4o-mini", *options, "Say hello"]
    return Published(name, "shell-gpt", command, {"Say hello": [Says("Hello to all of you")]}, "Hello to all of you")


_SUMMARY = {"summarize": [Says("# USER\n\nI asked you to count.")]}

PUBLISHED: Sequence[Published] = (
    _mini("mini", "--model", "openai/gpt-4o-mini"),
    _mini("mini-responses", "--model", "openai/gpt-4o-mini", "--model-class", "litellm_response"),
    _mini("mini-claude", "--model", f"anthropic/{CLAUDE}", model=CLAUDE),
    _aider("aider", "gpt-4o-mini", "--no-auto-commits"),
    _aider("aider-plain", "gpt-4o-mini", "--no-auto-commits", "--no-stream"),
    _aider("aider-commits", "gpt-4o-mini", others={"commit message": [Says("feat: greet the world")]}),
    _aider("aider-claude", f"anthropic/{CLAUDE}", "--no-auto-commits", says=_EDIT, answers_as=CLAUDE),
    _aider(
        "aider-threads",
        "gpt-4o-mini",
        "--no-auto-commits",
        "--restore-chat-history",
        "--max-chat-history-tokens",
        "50",
        others=_SUMMARY,
        prepare=_restored_chat,
    ),
    _llm("llm", "--model", "gpt-4o-mini"),
    _llm("llm-plain", "--model", "gpt-4o-mini", "--no-stream"),
    _llm("llm-async", "--model", "gpt-4o-mini", "--async"),
    _llm("llm-responses", "--model", "gpt-5-mini", model=GPT_5_MINI),
    _llm("llm-responses-plain", "--model", "gpt-5-mini", "--no-stream", model=GPT_5_MINI),
    _llm_tools("llm-tools", "--model", "gpt-4o-mini"),
    _sgpt("sgpt", "--no-md"),
    _sgpt("sgpt-markdown", "--md"),
)

# What never comes to an end by itself. What it makes is the line that it writes with each answer.
ENDLESS: Sequence[Published] = (
    Published(
        "mini",
        "mini-swe-agent",
        [
            "mini",
            "--model",
            "openai/gpt-4o-mini",
            "--yolo",
            "--exit-immediately",
            "--task",
            "Count",
            "--output",
            "run.json",
        ],
        {"Count": [_bash("echo again >> counted.txt")]},
        "",
        makes={"counted.txt": "again"},
    ),
)

# It leaves a stream at the call of a function, before the usage comes.
LEAVES_A_STREAM = Published(
    "sgpt-functions",
    "shell-gpt",
    ["sgpt", "--model", "gpt-4o-mini", "--no-md", "Count the files"],
    {
        "Count": [
            Says(tool="execute_shell_command", arguments={"shell_command": "ls | wc -l"}),
            Says("There is one"),
        ]
    },
    "There is one",
    prepare=_functions,
)

# It posts with `requests`. It wants the price of a call in the answer, unless it is told that there is none.
POSTS_BY_ITSELF = _mini(
    "mini-openrouter",
    *("--config", "mini.yaml", "--config", "model.cost_tracking=ignore_errors"),
    *("--model-class", "openrouter", "--model", "openai/gpt-4o-mini"),
)
