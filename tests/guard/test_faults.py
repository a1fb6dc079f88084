"""Our own faults: dropped, and logged at a growing interval without what they say."""

from __future__ import annotations

import logging
import sys

import pytest

from otel_harn_steps._guard import forget_faults, guard, type_name

pytestmark = pytest.mark.usefixtures("own_faults_dropped", "nothing_told")


@pytest.fixture
def nothing_told():
    forget_faults()
    yield
    forget_faults()


def fail(times=1, error=None):
    error = error or ValueError("the prompt")
    for _ in range(times):
        with guard("trying"):
            raise error


def test_our_own_faults_are_dropped_and_logged_without_their_message(caplog):
    fail()
    (record,) = caplog.records
    assert "ValueError at test_faults.py" in record.getMessage()
    assert "the prompt" not in caplog.text


def test_a_fault_that_goes_on_is_logged_ever_more_rarely_with_its_number(caplog):
    fail(1001)
    told = [record.getMessage().partition("), ")[2].partition(";")[0] for record in caplog.records]
    assert told == ["for the first time", "10 times so far", "100 times so far", "1,000 times so far"]


def test_a_class_made_of_a_prompt_is_named_by_its_base(caplog):
    fail(error=type("the prompt", (KeyError,), {})())
    assert "(KeyError at" in caplog.text
    assert "the prompt" not in caplog.text


def test_faults_of_any_number_of_kinds_take_no_more_memory():
    from otel_harn_steps import _guard

    for each in range(3000):
        with guard(f"trying {each}"):
            raise ValueError
    assert len(_guard._faults) <= 4000


def test_in_our_own_tests_our_own_faults_raise():
    from otel_harn_steps.testing import raise_own_faults

    raise_own_faults(True)
    with pytest.raises(ValueError, match="prompt"):
        fail()


def test_an_apps_log_handler_that_raises_does_not_reach_the_app(caplog):
    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("the disk is full")

    handler = Broken()
    logging.getLogger("otel_harn_steps").addHandler(handler)
    try:
        fail()
    finally:
        logging.getLogger("otel_harn_steps").removeHandler(handler)


def deep(left, then=lambda: "went on"):
    return deep(left - 1, then) if left else then()


def deepest():
    """How deep the stack may still go, from here."""
    depth = sys.getrecursionlimit()
    while True:
        try:
            deep(depth)
        except RecursionError:
            depth -= 1
        else:
            return depth


@pytest.mark.parametrize("room", range(4, 60))
def test_a_fault_at_the_end_of_the_stack_is_dropped(room):
    """Whether there is room to log it or not."""

    def guarded():
        with guard("trying"):
            deep(1000)
        return "went on"

    assert deep(deepest() - room, guarded) == "went on"


def test_no_memory_for_our_part_is_our_fault():
    fail(error=MemoryError())


class KnownError(Exception):
    class InnerError(Exception):
        pass


def made_here():
    class LocalError(KnownError):
        pass

    return LocalError


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ValueError, "ValueError"),
        (KnownError, f"{__name__}.KnownError"),
        (KnownError.InnerError, f"{__name__}.KnownError.InnerError"),
        (made_here(), f"{__name__}.KnownError"),
        (type("the prompt", (KnownError,), {}), f"{__name__}.KnownError"),
        (type("the prompt", (KnownError,), {"__module__": "the prompt"}), f"{__name__}.KnownError"),
        (type("the prompt", (KnownError,), {"__module__": None}), f"{__name__}.KnownError"),
        (type("KnownError", (ValueError,), {"__module__": __name__}), "ValueError"),
    ],
)
def test_a_class_is_named_as_it_can_be_imported(kind, name):
    assert type_name(kind) == name
