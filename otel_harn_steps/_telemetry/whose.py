"""Whose a step or a call is, on its span: the agent, the labels, and the conversation that one of them names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_harn_steps import _settings
from otel_harn_steps._telemetry import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue


def add_whose(attributes: dict[str, AttributeValue], agent: str | None, labels: Mapping[str, str]) -> None:
    """Add to a span's attributes the agent and the labels of what it is of."""
    if agent is not None:
        attributes[names.AGENT_NAME] = agent
    if labels:
        attributes.update(names.of_labels(labels))
        conversation = labels.get(_settings.in_force.conversation_label)
        if conversation is not None:
            attributes[names.CONVERSATION_ID] = conversation
