"""The configuration file as a model: what it may say, in which words, and what each word means.

Pydantic, because it reports every mistake of a file at once and in a structured form (where, of which kind, which
value), and because every model client brings it along. msgspec loads faster but stops at the first mistake and gives
its place in prose only. What a process needs at its start is the `Plan`, which needs neither.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from otel_harn_steps._cost.rate_card import PRICE_KEYS
from otel_harn_steps._instrument.options import CLIENTS, OPTIONS
from otel_harn_steps._settings import UnknownSpend
from otel_harn_steps._telemetry.names import EMITTED
from otel_harn_steps.config._budget_table import BudgetTable, LabelBudgetTable, limited, limited_label
from otel_harn_steps.config._plan import Plan, PlannedStep
from otel_harn_steps.config._tables import TABLE, Allowed, closest, did_you_mean, meant_or_known, mistake
from otel_harn_steps.config._target_names import checked_target
from otel_harn_steps.frameworks import FRAMEWORKS

# -- names with placeholders -------------------------------------------------------------------------------------------


def placeholders(name: str) -> Iterator[str]:
    """The arguments that a name asks for.

    Raises:
        ValueError: the braces are not in order.
    """
    for _, field, spec, conversion in string.Formatter().parse(name):
        if field is None:
            continue
        if spec or conversion:
            raise ValueError("has a placeholder with a format, where only the name of an argument may be")
        if not all(part.isidentifier() for part in field.split(".")):
            raise ValueError(f"has the placeholder {{{field}}}, which does not name an argument of the function")
        yield field


def _asked(text: str, key: str) -> set[str]:
    try:
        return set(placeholders(text))
    except ValueError as error:
        raise mistake(str(error) + '; write a brace itself as "{{" or "}}"', key) from None


# -- rates -------------------------------------------------------------------------------------------------------------


def _price_key(key: str) -> str:
    if key not in PRICE_KEYS:
        raise mistake("is not a price key" + meant_or_known(closest(key, PRICE_KEYS), PRICE_KEYS))
    return key


_LIMITS: Final = "a table of limits, as in { max_usd = 0.05, max_calls = 40 }"
_LABEL_BUDGET: Final = 'a table of a key and limits, as in { key = "tenant", window = "day", max_usd = 5 }'
_LABELS: Final = Allowed('an array of names of labels, as in ["tenant"]')
_JSON: Final = Allowed("a string, number, boolean, array or table")
_RATES: Final = Allowed("a table of US dollars by price key, as in { input_mtok = 2.5, output_mtok = 10 }")
_UNPRICED: Final = Allowed(
    '"estimate", "ignore", "refuse", or a table of rates such as { input_mtok = 2.5, output_mtok = 10 }'
)
_Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Rates = Annotated[
    dict[Annotated[str, AfterValidator(_price_key)], _Rate],
    Field(min_length=1, json_schema_extra={"propertyNames": {"enum": list(PRICE_KEYS)}}),
]
_Unpriced = Annotated[
    Annotated[UnknownSpend, Tag("policy")] | Annotated[_Rates, Tag("rates")],
    Discriminator(lambda value: "rates" if isinstance(value, dict) else "policy"),
    _UNPRICED,
]


def _words(known: Iterable[str]) -> str:
    *some, last = (f'"{each}"' for each in known)
    return f"{', '.join(some)} or {last}"


_FRAMEWORKS: Final = Allowed(f'"auto" or an array of {_words(FRAMEWORKS)}')
_EMIT: Final = Allowed(f"an array of {_words(EMITTED)}")
_CLIENTS: Final = Allowed(f"an array, with at least one, of {_words(CLIENTS)}")

_Frameworks = Annotated[
    Annotated[Literal["auto"], Tag("all")] | Annotated[list[Literal[FRAMEWORKS]], Tag("some")],  # type: ignore[valid-type]
    Discriminator(lambda value: "some" if isinstance(value, list) else "all"),
    _FRAMEWORKS,
]


INNER_ALLOWED: Final = {
    ("frameworks", 1): _words(FRAMEWORKS),
    ("clients", 1): _words(CLIENTS),
    ("emit", 1): _words(EMITTED),
    ("models", 1): "a model's name",
    ("baggage_labels", 1): "a string that is not empty",
    ("metric_labels", 1): "a string that is not empty",
    ("at", 1): '"notify", "downgrade:MODEL" or "tell", by a share in quotes, as in { "0.8" = "notify" }',
    ("prices", 1): _RATES.text,
    ("prices", 2): "a number, 0 or more: US dollars",
    ("unpriced", 1): "a number, 0 or more: US dollars",
    ("allowed_values", 1): "an array of strings with at least one",
    ("metadata", 1): _JSON.text,
    ("steps", 1): "a table, as [[steps]] begins one",
}
"""The same for what is inside of a key: by that key, and how far inside."""


# -- the file ----------------------------------------------------------------------------------------------------------


class StepTable(BaseModel):
    """A function that is a step, or what is declared for a framework's step of a name."""

    model_config = ConfigDict(**TABLE, json_schema_extra={"anyOf": [{"required": ["target"]}, {"required": ["name"]}]})

    target: (
        Annotated[str, AfterValidator(checked_target), Allowed('"module:function" or "module:Class.method"')] | None
    ) = None
    """The function, as `"module:qualified.name"`: a function, a method, a static or class method; plain, async,
    a generator. Patterns (`*`, `?`, `[...]`) on names are for several: `"myapp.tools:*"`,
    `"myapp.agents:*Agent.run"`; they leave out names that begin with `_` and what was imported from elsewhere.
    Without a target, the rest is for the step of this `name` that one of the `frameworks` makes.
    """
    name: Annotated[str, Allowed("a string")] | None = None
    """The step's name; default: the function's. `"tool:{tool_name}"` takes it from an argument, whose values
    must be listed in `allowed_values`.
    """
    allowed_values: Annotated[
        dict[str, Annotated[list[str], Field(min_length=1)]],
        Allowed('a table of lists of strings, as in { tool_name = ["search", "fetch"] }'),
    ] = Field(default_factory=dict)
    """By placeholder of `name`, the values that become part of it; any other value becomes `other`. So the
    number of names stays small.
    """
    model: Annotated[str, Field(min_length=1), Allowed("a string that is not empty")] | None = None
    """The model for calls that name none."""
    budget: Annotated[BudgetTable, Allowed(_LIMITS)] | None = None
    """What the step may spend."""
    error_boundary: (
        Annotated[
            Literal["fail", "continue", "escalate", "pause"], Allowed('"fail", "continue", "escalate" or "pause"')
        ]
        | None
    ) = None
    """What a budget error does when it leaves the step: `fail` (default) raises it, `continue` returns the
    fallback, `escalate` raises `StepEscalated`. With `pause`, somebody decides before it is raised.
    """
    fallback: Annotated[JsonValue, _JSON] = None
    """What the caller gets from a step that ended by `continue`, as it is; default: None."""
    scope: Annotated[Literal["step", "tree"], Allowed('"step" or "tree"')] = "step"
    """What the budget covers: the step's own calls, or (`tree`) nested steps too."""
    agent: Annotated[str, Field(min_length=1), Allowed("a string that is not empty")] | None = None
    """The agent that the step belongs to, shown as `gen_ai.agent.name`."""
    detail: Annotated[str, Field(min_length=1), Allowed("a string that is not empty")] | None = None
    """What a run of the step is about, on its span and record, and on no metric. `"{ticket_id}"` takes it from an
    argument, which may have any number of values.
    """
    approval: Annotated[JsonValue, _JSON] = None
    """Metadata: kept and shown, not enforced."""
    receipt: Annotated[JsonValue, _JSON] = None
    """Metadata: kept and shown, not enforced."""
    retry: Annotated[JsonValue, _JSON] = None
    """Metadata: kept and shown, not enforced."""
    metadata: Annotated[dict[str, JsonValue], Allowed("a table of strings, numbers, booleans, arrays or tables")] = (
        Field(default_factory=dict)
    )
    """Any further keys: kept and shown, not enforced."""

    @model_validator(mode="after")
    def _is_of_something(self) -> StepTable:
        if self.target is None and not self.name:
            raise mistake('needs a "target", as "module:function", or the "name" of a framework\'s step')
        if self.target is None and self.allowed_values:
            raise mistake('has a meaning only with a "target"', "allowed_values")
        return self

    @model_validator(mode="after")
    def _name_is_of_low_cardinality(self) -> StepTable:
        if self.target is None:  # the name is the framework's, as it is
            return self
        asked = _asked(self.name or "", "name")
        for name in sorted(asked - set(self.allowed_values)):
            example = f'allowed_values = {{ {name if "." not in name else repr(name)} = ["...", "..."] }}'
            raise mistake(f"takes {{{name}}} from an argument without listing its values; add {example}", "name")
        for name in self.allowed_values:
            if name not in asked:
                raise mistake(
                    f"is for {{{name}}}, which the step's name does not have"
                    + did_you_mean(next(iter(sorted(asked - set(self.allowed_values))), None)),
                    "allowed_values",
                    name,
                )
        return self

    @model_validator(mode="after")
    def _detail_can_be_made(self) -> StepTable:
        if self.detail is not None and _asked(self.detail, "detail") and self.target is None:
            raise mistake('takes an argument, which only the function of a "target" has', "detail")
        return self

    @model_validator(mode="after")
    def _fallback_can_happen(self) -> StepTable:
        if self.fallback is not None and self.error_boundary != "continue":
            raise mistake('has a meaning only with error_boundary = "continue"', "fallback")
        return self

    def planned(self, where: str) -> PlannedStep:
        """This step in plain values."""
        metadata = {key: value for key in _METADATA if (value := getattr(self, key)) is not None} | self.metadata
        return PlannedStep(
            target=self.target or "",
            where=where,
            name=self.name,
            allowed_values={key: tuple(values) for key, values in self.allowed_values.items()},
            options={
                "model": self.model,
                "budget": None if self.budget is None else self.budget.planned(),
                "error_boundary": self.error_boundary,
                "fallback": self.fallback,
                "scope": self.scope,
                "agent": self.agent,
                # A framework's step has no arguments: its detail is the text, with its doubled braces made single.
                "detail": self.detail if self.target or self.detail is None else self.detail.format(),
                "metadata": metadata,
            },
        )


_METADATA: Final = ("approval", "receipt", "retry")


class SinksTable(BaseModel):
    """Where the record of every step goes, besides the process's own log."""

    model_config = TABLE

    json_lines: Annotated[str, Field(min_length=1), Allowed("a path")] | None = None
    """A file that gets one line of JSON for each record; several processes may share it. A relative path starts
    at the configuration file's folder.
    """
    log_events: Annotated[bool, Allowed("true or false")] = False
    """Whether each record is also an OpenTelemetry log event, `harn.step.completed`."""


class RecordsTable(BaseModel):
    """How long `otel-harn-steps run` keeps what it has recorded."""

    model_config = TABLE

    keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False), Allowed("a number above 0")] | None = None
    """Runs that were written to last longer ago are removed. Default: 90."""
    keep_mib: Annotated[float, Field(gt=0, allow_inf_nan=False), Allowed("a number above 0")] | None = None
    """The oldest runs are removed while all together take more mebibytes. Default: 1024."""

    def planned(self) -> dict[str, float]:
        """What the file says."""
        return {name: value for name in ("keep_days", "keep_mib") if (value := getattr(self, name)) is not None}


class ConfigFile(BaseModel):
    """`harn-steps.toml`, or `[tool.otel_harn_steps]` in `pyproject.toml`."""

    model_config = TABLE

    strict: Annotated[bool, Allowed("true or false")] | None = None
    """Whether a mistake in this file keeps the app from starting. Default: true under `otel-harn-steps run`,
    false under `opentelemetry-instrument`, where what is wrong is left out and logged.
    """
    steps: Annotated[list[StepTable], Allowed("an array of tables: [[steps]]")] = Field(default_factory=list)
    """The functions that are steps, and what is declared for the steps of frameworks."""
    frameworks: _Frameworks = Field(default_factory=list)
    """The agent frameworks whose agents, nodes and tasks are steps by their own names; `auto`: all of them."""
    agents: Annotated[
        dict[Annotated[str, Field(min_length=1)], Annotated[BudgetTable, AfterValidator(limited), Allowed(_LIMITS)]],
        Allowed('a table of budgets by agent, as in agents."researcher" = { max_usd = 0.5 }'),
    ] = Field(default_factory=dict)
    """What the steps of an agent may spend together, in one run and one process: a budget by the agent's name, or by a
    pattern (`*`, `?`, `[...]`), for each agent that matches it and is not named.
    """
    budgets: Annotated[
        dict[
            Annotated[str, Field(min_length=1)],
            Annotated[LabelBudgetTable, AfterValidator(limited_label), Allowed(_LABEL_BUDGET)],
        ],
        Allowed('a table of budgets by their names, as in budgets.tenants = { key = "tenant", max_usd = 5 }'),
    ] = Field(default_factory=dict)
    """What each value of a label may spend, in one process: by a name of your own for the budget."""
    baggage_labels: Annotated[list[Annotated[str, Field(min_length=1)]], _LABELS] = Field(default_factory=list)
    """The keys of W3C baggage that are labels of the steps and calls in its context. They are not sent to providers."""
    clients: Annotated[list[Literal[CLIENTS]], Field(min_length=1), _CLIENTS] | None = None  # type: ignore[valid-type]
    """The client libraries that are patched; default: all of them."""
    prices: Annotated[dict[str, _Rates], Allowed('a table by model: prices."my-model" = { input_mtok = 2.5 }')] = Field(
        default_factory=dict
    )
    """Your own prices, before the price book: US dollars per million tokens by `"model"`, `"provider:model"` or
    `"provider:*"`.
    """
    models: Annotated[
        dict[str, Annotated[str, Field(min_length=1)]],
        Allowed('a table of models by the name in a call, as in { my-deployment = "gpt-4o" }'),
    ] = Field(default_factory=dict)
    """The model, for its price, behind a name of your own (a deployment, an inference profile): by `"name"` or
    `"provider:name"`.
    """
    unpriced: _Unpriced = "estimate"
    """What a `max_usd` budget does about a call of unknown price: `estimate` counts the most expensive rate that the
    price book knows for the provider, `ignore` counts nothing, `refuse` makes it a breach; a table of rates is assumed
    for it.
    """
    unmetered: Annotated[UnknownSpend, Allowed('"estimate", "ignore" or "refuse"')] = "estimate"
    """What a budget does about a call of unknown usage: `estimate` counts an estimate of its tokens, `ignore` counts
    nothing, `refuse` makes it a breach.
    """
    call_spans: Annotated[Literal["auto"] | bool, Allowed('"auto", true or false')] = "auto"
    """Whether each call gets a span of its own; `auto`: unless another instrumentation makes one."""
    emit: Annotated[list[Literal[tuple(EMITTED)]], _EMIT] = Field(default_factory=list)  # type: ignore[valid-type]
    """Names under which the spans of calls carry their dollars beside `harn.call.cost_usd`, for backends that read
    these: `gen_ai.usage.cost`, `operation.cost`, `llm.cost.total`, `langfuse`, `phoenix`. Never on spans of steps.
    """
    conversation_label: Annotated[str, Field(min_length=1), Allowed("the name of a label")] = "conversation"
    """The label whose value is `gen_ai.conversation.id` on the spans of steps and calls."""
    stream_usage: Annotated[bool, Allowed("true or false")] = True
    """Whether an OpenAI chat stream is asked for its usage where the app did not ask. The app sees the same
    chunks.
    """
    metrics: Annotated[bool, Allowed("true or false")] = True
    """Whether steps and calls are counted in metrics."""
    metric_step_names: Annotated[int, Field(gt=0), Allowed("a whole number above 0")] = 1000
    """How many names of steps metrics may have. Steps of further names are `other` in them."""
    metric_labels: Annotated[list[Annotated[str, Field(min_length=1)]], _LABELS] = Field(default_factory=list)
    """Labels that metrics have too, as `harn.label.NAME`."""
    metric_label_values: Annotated[int, Field(gt=0), Allowed("a whole number above 0")] = 100
    """How many values of each of these metrics may have. Further ones are `other` in them."""
    redact_errors: Annotated[bool, Allowed("true or false")] = False
    """Whether records and spans name the type of an app's exception instead of its message, which may quote a
    prompt.
    """
    threads: Annotated[bool, Allowed("true or false")] = False
    """Whether threads, tasks of thread pools, and callbacks of their futures run in the step of those who started,
    submitted or added them. Default under `otel-harn-steps run`: true.
    """
    unseen_calls: Annotated[bool, Allowed("true or false")] = False
    """Whether HTTP requests to known model hosts that no patched client made are counted, and named in a WARNING.
    Default under `otel-harn-steps run`: true.
    """
    pause_folder: Annotated[str, Field(min_length=1), Allowed("a path")] | None = None
    """A folder in which steps with `error_boundary = "pause"` ask whether they may spend more, and find the answer. A
    relative path starts where the program was started.
    """
    sinks: Annotated[SinksTable, Allowed("a table with json_lines, log_events, or both")] = Field(
        default_factory=SinksTable
    )
    """Where records go."""
    sink_queue: Annotated[int, Field(gt=0), Allowed("a whole number above 0")] | None = None
    """How many records may wait for these sinks, which then write in a thread of their own: a slow disk does not hold
    up the app. Records that find the queue full are lost, and counted. Default: no queue.
    """
    records: Annotated[RecordsTable, Allowed("a table with keep_days, keep_mib, or both")] = Field(
        default_factory=RecordsTable
    )
    """How long `otel-harn-steps run` keeps its records. In a folder that was named by `--records`, nothing is removed
    unless this says so.
    """

    def planned(self, steps: tuple[PlannedStep, ...], json_lines: str | None) -> Plan:
        """The file in plain values."""
        named = self.model_fields_set.intersection(OPTIONS) - {"frameworks", "agents", "budgets", "sinks"}
        return Plan(
            steps=steps,
            frameworks=FRAMEWORKS if self.frameworks == "auto" else tuple(self.frameworks),
            agents={name: budget.planned() for name, budget in self.agents.items()},
            budgets={name: budget.planned() for name, budget in self.budgets.items()},
            options={name: getattr(self, name) for name in OPTIONS if name in named},
            json_lines=json_lines,
            log_events=self.sinks.log_events,
            records=self.records.planned(),
        )
