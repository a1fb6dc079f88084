"""`check_provider`: whether an adapter does what every one has to do, by one recorded exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

from otel_harn_steps._calls.client import ClientAdapter
from otel_harn_steps._instrument.instrumentation import current_instrumentation
from otel_harn_steps._steps.errors import StepBudgetExceeded
from otel_harn_steps.testing._answers import Answer, answer_of, chunks_of, error
from otel_harn_steps.testing._cases import NO_CALL, UNMETERED_CALL, Bill, RecordedCase
from otel_harn_steps.testing._runs import App, ClientFactory, Run, opened
from otel_harn_steps.testing._seen import first_difference
from otel_harn_steps.testing._server import ReplayServer
from otel_harn_steps.testing._uses import breaks, closes, pulls, reads

Check = Callable[[App], Iterator[str]]


def check_provider(
    case: RecordedCase, client_factory: ClientFactory, *, provider: ClientAdapter | None = None
) -> tuple[str, ...]:
    """Run the real client over a recorded exchange, bare and in a step, and compare.

    Args:
        case: the exchange. `load_case` reads one from a file.
        client_factory: called with a base URL. Makes a client that sends there and does not retry, and returns what
            makes the call: it is called with `case.request` as keywords. Or a context manager of that, which closes
            the client. Sync or async: what is returned may be awaitable, a stream is an iterator, or an async one.
        provider: a provider of your own; None for a client that is known here.

    Returns:
        The names of the checks that were made.

    Raises:
        AssertionError: a check failed. The message says which, and what differs.
        RuntimeError: `instrument()` is in force, so that no run would be bare.
    """
    if current_instrumentation() is not None:
        raise RuntimeError("check_provider compares with runs without instrumentation: call uninstrument() before")
    providers = () if provider is None else (provider,)
    made: list[str] = []
    failures: list[str] = []
    with ReplayServer() as server, opened(case, client_factory, providers, server) as app:
        for check in _checks_of(case):
            name = check.__name__.strip("_").replace("_", " ")
            made.append(name)
            failures += (f"{name}: {failure}" for failure in check(app))
    if failures:
        raise AssertionError(f"{case.name} ({app.mode.name} client)\n" + "\n".join(f"- {each}" for each in failures))
    return tuple(made)


def _checks_of(case: RecordedCase) -> Iterator[Check]:
    yield _read_whole
    yield _outside_of_a_step
    yield _rejected
    if case.status >= 400:
        return
    yield _cut_off
    if case.stream:
        yield _pulled
        yield _left_early
    if case.bill.tokens > 1:
        yield _over_budget


def _read_whole(app: App) -> Iterator[str]:
    bare, ours = app.bare(), app.ours()
    yield from _same(bare, ours)
    if not bare.requests:
        yield "the client sent no request to the base URL that it was given"
    elif bare.requests != ours.requests:
        yield f"the client sent {bare.requests} requests without us, {ours.requests} with us"
    # A stream whose client gives up on an error within it may have reported its usage before.
    broke_off = app.case.status < 400 and bool(bare.seen[0].values("raised"))
    if not (broke_off and ours.bill == UNMETERED_CALL):
        yield from _billed(app.case.bill, ours.bill)
    named = None if ours.record is None else ours.record.model
    if app.case.model not in (None, named) and app.case.bill != NO_CALL:
        yield f"the record names the model {named!r}, the answer {app.case.model!r}"


def _outside_of_a_step(app: App) -> Iterator[str]:
    bare, ours = app.bare(), app.outside()
    yield from _same(bare, ours)
    if ours.record is not None:
        yield f"a record of {ours.record.function!r} was made where there is no step"


def _rejected(app: App) -> Iterator[str]:
    for status in (400, 429, 500):
        refusal = error(status, "refused")
        bare, ours = app.bare(reads, refusal), app.ours(reads, refusal)
        yield from (f"status {status}: {each}" for each in _same(bare, ours))
        yield from (f"status {status}: {each}" for each in _billed(NO_CALL, ours.bill))


def _cut_off(app: App) -> Iterator[str]:
    half = max(1, len(chunks_of(app.case)) // 2)
    yield from _unfinished(app, reads, answer_of(app.case, cut_after=half))


def _pulled(app: App) -> Iterator[str]:
    ours = app.ours(pulls)
    yield from _same(app.bare(pulls), ours)
    if not ours.seen[0].values("raised"):
        yield from _billed(app.case.bill, ours.bill)


def _left_early(app: App) -> Iterator[str]:
    for use in (breaks, closes):
        yield from (f"{use.__name__}: {each}" for each in _unfinished(app, use))


def _unfinished(app: App, use: Callable[..., object], *script: Answer) -> Iterator[str]:
    """One call all the same, and never more than it reported."""
    bare, ours = app.bare(use, *script), app.ours(use, *script)  # type: ignore[arg-type]
    yield from _same(bare, ours)
    whole, bill = app.case.bill, ours.bill
    if bill.llm_calls != 1:
        yield f"{bill.llm_calls} calls were billed, not 1"
    if bill.input_tokens > whole.input_tokens or bill.output_tokens > whole.output_tokens:
        yield f"more was billed than the whole response reports: {bill}"
    if not bill.unmetered_calls and bill != whole and not bill.tokens:
        yield "nothing was billed, and the call does not count as unmetered"


def _over_budget(app: App) -> Iterator[str]:
    bare = app.bare()
    if bare.seen[0].values("raised"):
        return
    ours = app.ours(calls=2, budget={"max_tokens": app.case.bill.tokens - 1})
    yield from _billed(app.case.bill, ours.bill)
    if not isinstance(ours.left, StepBudgetExceeded):
        yield "no StepBudgetExceeded left the step"
    elif ours.left.response is None and not app.case.stream:
        yield "the StepBudgetExceeded has no response: what was paid for is lost"
    for which, seen in zip(("call that crossed the limit", "call after it"), ours.seen, strict=True):
        raised = [found[0].__name__ for found in seen.values("raised")]
        if raised != [StepBudgetExceeded.__name__]:
            yield f"the {which} raised {raised[0] if raised else 'nothing'}, not StepBudgetExceeded"
    if ours.requests != bare.requests:
        yield f"{ours.requests} requests were sent, where the first one used up the budget"
    values, seen_before = bare.seen[0].values("value"), ours.seen[0].values("value")
    if app.case.stream and values != seen_before:
        yield f"the app saw {len(seen_before)} events before the error, of {len(values)} that it had paid for"


def _same(bare: Run, ours: Run) -> Iterator[str]:
    """What the app sees, and that nothing of ours went wrong meanwhile."""
    difference = first_difference(bare.seen[0], ours.seen[0])
    if difference is not None:
        yield f"the app does not see what it sees without us: {difference}"
    if ours.left is not None:
        yield f"left the step: {ours.left!r}"
    yield from ours.faults


def _billed(expected: Bill, got: Bill) -> Iterator[str]:
    for each in fields(Bill):
        one, other = getattr(expected, each.name), getattr(got, each.name)
        if one != other:
            yield f"{each.name} is {other} in the record, {one} in the case"
