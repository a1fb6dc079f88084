"""What an app can ask of the functions of a client has one answer: without the package, with it, and in a step.

The functions are those that the client files name: a client that joins is compared without a line here.
"""

from __future__ import annotations

import copy
import functools
import pickle
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

import pytest
import wrapt

import otel_harn_steps
from otel_harn_steps._clients import ADAPTERS
from otel_harn_steps._instrument.options import CLIENTS, client_of
from otel_harn_steps._patching.patcher import owner_in
from otel_harn_steps.providers import Seam
from tests.instrument.acme import Acme
from tests.instrument.facts import PROTOCOLS, Function, facts_of


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


def differences(functions: list[Function], **options: Any) -> list[str]:
    """The facts that are not the same with the package, and in a step, as without."""
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

    otel_harn_steps.instrument(**options)
    try:
        compare("instrumented")
        with otel_harn_steps.step("s", max_usd=1):
            compare("in a step")
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    left = [f"left behind: {each}" for each, plain in originals.items() if each.plain != plain]
    return different + left


# Wrong arguments cannot be read: that is a fault of ours, in a place where the app's own error comes first.
@pytest.mark.usefixtures("own_faults_dropped")
@pytest.mark.parametrize("client", CLIENTS)
def test_every_fact_of_a_clients_functions_is_as_without_us(client: str) -> None:
    functions = list(functions_of(client))
    if not functions:
        pytest.skip(f"{client} is not installed")
    assert differences(functions) == []


# -- every form that a function can have ---------------------------------------------------------------------------------


class Forms:
    @staticmethod
    def of_nobody(model: str = "m") -> str:
        """A docstring."""
        return model

    @classmethod
    def of_the_class(cls, model: str = "m") -> str:
        return f"{cls.__name__} {model}"

    @classmethod
    async def of_the_class_async(cls, model: str = "m") -> str:
        return f"{cls.__name__} {model}"

    def generated(self, model: str = "m") -> Iterator[str]:
        yield model

    async def generated_async(self, model: str = "m") -> AsyncIterator[str]:
        yield model

    partial = functools.partial(sorted, reverse=True)
    builtin = sorted


class Copies:
    """As a library takes over the methods of another class."""

    generated = Forms.generated


def of_the_module(model: str = "m") -> str:
    return model


class Adapter(Acme):
    name = "forms"
    seams = (
        Seam(__name__, "Forms.of_nobody"),
        Seam(__name__, "Forms.of_the_class"),
        Seam(__name__, "Forms.of_the_class_async", is_async=True),
        Seam(__name__, "Forms.generated", deferred=True),
        Seam(__name__, "Copies.generated", deferred=True),
        Seam(__name__, "Forms.generated_async", deferred=True),
        Seam(__name__, "Forms.partial"),
        Seam(__name__, "Forms.builtin"),
        Seam(__name__, "of_the_module"),
    )


FUNCTIONS = [Function(sys.modules[__name__], seam.target) for seam in Adapter.seams]
NO_FUNCTIONS = [each for each in FUNCTIONS if each.name in ("partial", "builtin")]


def test_every_form_of_a_function_is_as_without_us() -> None:
    assert differences([each for each in FUNCTIONS if each not in NO_FUNCTIONS], providers=[Adapter()]) == []


def theirs(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


@pytest.mark.parametrize("first", ["nobody", "us", "them"])
@pytest.mark.parametrize("form", ["of_nobody", "of_the_class"])
def test_a_static_and_a_class_method_are_billed_and_put_back_also_below_others(
    form: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = vars(Forms)[form]
    expected = getattr(Forms, form)("x")
    monkeypatch.setattr(Forms, form, original)  # which it puts back in the end
    if first == "them":
        setattr(Forms, form, wrapt.FunctionWrapper(original, theirs))
    otel_harn_steps.instrument(providers=[Adapter()])
    try:
        if first == "us":
            setattr(Forms, form, wrapt.FunctionWrapper(vars(Forms)[form], theirs))
        with otel_harn_steps.step("s"):
            assert (getattr(Forms, form)("x"), getattr(Forms(), form)("x")) == (expected, expected)
        (record,) = otel_harn_steps.drain_completed_steps()
    finally:
        otel_harn_steps.uninstrument()
        otel_harn_steps.reset_steps()
    assert record.llm_calls == 2
    left = vars(Forms)[form]
    assert (left if first == "nobody" else left.__wrapped__) is original


@pytest.mark.parametrize("function", NO_FUNCTIONS, ids=str)
def test_what_is_no_function_keeps_its_class_and_copies_and_pickles_as_itself(function: Function) -> None:
    def look() -> Any:
        plain = function.plain
        copies = [copy.copy(plain), copy.deepcopy(plain)]
        copies += [pickle.loads(pickle.dumps(plain, protocol)) for protocol in PROTOCOLS]
        return plain.__class__, [each([1, 2]) for each in copies]

    without_us = look()
    otel_harn_steps.instrument(providers=[Adapter()])
    try:
        assert look() == without_us
    finally:
        otel_harn_steps.uninstrument()
