"""What an app can ask of the functions of a client has one answer: without the package, with it, and in a step.

The functions are those that the client files name: a client that joins is compared without a line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

import otel_harn_steps
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._instrument.options import CLIENTS, client_of
from otel_harn_steps._patching.patcher import owner_in
from tests.instrument.facts import Function, facts_of


def functions_of(client: str) -> Iterator[Function]:
    """Every function of a client library that `instrument()` wraps, of what is installed."""
    seams = (seam for adapter in ADAPTERS if client_of(adapter) == client for seam in adapter.seams)
    for name, target in dict.fromkeys((seam.module, seam.target) for seam in seams):
        try:
            module = import_module(name)
        except ImportError:
            continue
        if owner_in(module, target) is not None:
            yield Function(module, target)


# Wrong arguments cannot be read: that is a fault of ours, in a place where the app's own error comes first.
@pytest.mark.usefixtures("own_faults_dropped")
@pytest.mark.parametrize("client", CLIENTS)
def test_every_fact_of_a_clients_functions_is_as_without_us(client: str) -> None:
    functions = list(functions_of(client))
    if not functions:
        pytest.skip(f"{client} is not installed")
    without_us = {function: facts_of(function) for function in functions}
    originals = {function: function.plain for function in functions}
    different: list[str] = []

    def compare(state: str) -> None:
        for function, before in without_us.items():
            found = facts_of(function)
            different.extend(
                f"{state}: {function}: {fact}: {was[:200]} became {found[fact][:200]}"
                for fact, was in before.items()
                if found[fact] != was
            )

    otel_harn_steps.instrument()
    try:
        compare("instrumented")
        with otel_harn_steps.step("s", max_usd=1):
            compare("in a step")
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    assert different == []
    assert [str(each) for each, plain in originals.items() if each.plain is not plain] == []
