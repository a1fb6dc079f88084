"""The steps that a file declares, in force: imported only where it declares some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from otel_harn_steps.config._main_script import watch_main
from otel_harn_steps.config._plan import PlannedStep
from otel_harn_steps.config._targets import Targets
from otel_harn_steps.frameworks._naming import use_definitions


class DeclaredSteps:
    """The targets of a file, and its steps of frameworks, until `close()`."""

    def __init__(self, steps: Sequence[PlannedStep], on_seen: Callable[[int], object] | None) -> None:
        self._targets = Targets(tuple(steps)) if on_seen is None else Targets(tuple(steps), on_seen)
        self._targets.watch()
        watch_main(self._targets)
        numbers = {step.name: number for number, step in enumerate(steps) if step.name and not step.target}
        definitions = {name: steps[number].definition(name) for name, number in numbers.items()}
        use_definitions(definitions, on_run=lambda name: self._targets.note(numbers[name]))

    def unseen(self) -> list[PlannedStep]:
        """The steps whose target has never appeared."""
        return self._targets.unseen()

    def close(self) -> None:
        """Put every target back."""
        self._targets.unwrap()
        use_definitions({})
