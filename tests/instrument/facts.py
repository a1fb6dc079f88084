"""What can be asked of a function of a client without making a call: the table that the differential suite compares.

Each fact is a function of a `Function`. Its value, or what it raises, has to be the same without the package, with it,
in a step, and after it has left. Not in the table, because Python leaves no choice: `__code__` and what reads it
(`inspect.getfile`, `inspect.getfullargspec`), `__closure__`, and `__wrapped__` in `vars()`, by which `inspect` finds the
original. And a function that a module shows from another one, as `litellm.completion` is that of `litellm.main`, has its home
where it is shown: there both it and the original, which an app may have taken before, are found by their names.
"""

from __future__ import annotations

import asyncio
import copy
import doctest
import functools
import inspect
import io
import operator
import pickle
import pydoc
import re
import types
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

from otel_harn_steps._patching.patcher import owner_in


@dataclass(frozen=True)
class Function:
    """A function of a client library, as an app gets at it.

    Attributes:
        module: where it is shown.
        target: its name there: "Class.method".
    """

    module: types.ModuleType
    target: str

    def __str__(self) -> str:
        return f"{self.module.__name__}.{self.target}"

    @property
    def name(self) -> str:
        return self.target.rpartition(".")[2]

    @property
    def owner(self) -> Any:
        return owner_in(self.module, self.target)

    @property
    def is_method(self) -> bool:
        return inspect.isclass(self.owner)

    @property
    def is_at_home(self) -> bool:
        """Whether it was defined where it is shown."""
        return self.is_method or inspect.unwrap(self.plain).__module__ == self.module.__name__

    @property
    def plain(self) -> Any:
        """`Class.method`, or `module.function`."""
        return getattr(self.owner, self.name)

    @functools.cached_property
    def instance(self) -> Any:
        return object.__new__(self.owner)

    @property
    def bound(self) -> Any:
        return getattr(self.instance, self.name)


Fact = Callable[[Any], Any]
"""Of the function, or of the method that is bound to an instance."""


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def outcome(fact: Callable[..., Any], *args: Any) -> str:
    """What a fact is, or what it raises."""
    try:
        return without_addresses(repr(fact(*args)))
    except Exception as error:  # noqa: BLE001 -- what it raises is the fact
        return without_addresses(f"raises {type(error).__qualname__}: {error}")


def attribute(name: str) -> Fact:
    return lambda f: getattr(f, name, "none")


def pickled(protocol: int) -> Fact:
    return lambda f: pickle.dumps(f, protocol)


def unpickled(protocol: int) -> Fact:
    return lambda f: same(pickle.loads(pickle.dumps(f, protocol)), f)


def same(copied: Any, f: Any) -> Any:
    """Whether it is the same function, of the same kind; of a method that of a copied instance."""
    return type(copied), getattr(copied, "__func__", copied) is getattr(f, "__func__", f)


class ByReference(pickle.Pickler):
    """Pickles as cloudpickle does: a function that is found under its name goes by its name."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, types.FunctionType):
            return NotImplemented
        module = __import__(value.__module__, fromlist=["_"])
        found = operator.attrgetter(value.__qualname__)(module)
        return NotImplemented if found is value else (types.FunctionType, ())


def pickled_by_reference(f: Any) -> Any:
    buffer = io.BytesIO()
    ByReference(buffer).dump(f)
    return buffer.getvalue()


def sets_an_attribute(f: Any) -> Any:
    f.seen_by_a_test = 1
    try:
        return f.seen_by_a_test
    finally:
        del f.seen_by_a_test


def in_another_class(f: Any) -> Any:
    class Other:
        method = f
        static = staticmethod(f)
        of_class = classmethod(f)
        partial = functools.partialmethod(f)

    other = Other()
    return (
        type(other.method),
        other.method.__self__ is other,
        Other.method is f,
        other.static is f,
        other.of_class.__func__ is f,
        type(other.partial),
    )


def wrapped_by_others(f: Any) -> Any:
    @functools.wraps(f)
    def around(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs)

    return str(inspect.signature(around)), around.__name__, around.__doc__, around.__module__


def called(*args: Any, **kwargs: Any) -> Fact:
    """What comes of wrong arguments, and when: a coroutine function refuses them before there is a coroutine."""

    def call(f: Any) -> Any:
        made = f(*args, **kwargs)
        if inspect.iscoroutine(made):
            made.close()
        return type(made)

    return call


def documented(f: Any) -> Any:
    return pydoc.plain(pydoc.render_doc(f))


ATTRIBUTES = (
    *("__module__", "__name__", "__qualname__", "__doc__", "__annotations__", "__class__"),
    *("__type_params__", "__isabstractmethod__", "__deprecated__", "__text_signature__", "__objclass__"),
)

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

ALL: dict[str, Fact] = {
    **{name: attribute(name) for name in ATTRIBUTES},
    "type": type,
    "repr": repr,
    "str": str,
    "callable": callable,
    "bool": bool,
    "is a FunctionType": lambda f: isinstance(f, types.FunctionType),
    "is a MethodType": lambda f: isinstance(f, types.MethodType),
    "is a Callable": lambda f: isinstance(f, Callable),  # type: ignore[arg-type]  # the class itself
    "subclass of FunctionType": lambda f: issubclass(type(f), types.FunctionType),
    "type of __call__": lambda f: type(f.__call__),
    "type of __get__": lambda f: type(f.__get__),
    "isfunction": inspect.isfunction,
    "ismethod": inspect.ismethod,
    "isroutine": inspect.isroutine,
    "isbuiltin": inspect.isbuiltin,
    "ismethoddescriptor": inspect.ismethoddescriptor,
    "isdatadescriptor": inspect.isdatadescriptor,
    "isgeneratorfunction": inspect.isgeneratorfunction,
    "isasyncgenfunction": inspect.isasyncgenfunction,
    "iscoroutinefunction": inspect.iscoroutinefunction,
    "asyncio.iscoroutinefunction": asyncio.iscoroutinefunction,
    "isawaitable": inspect.isawaitable,
    "signature": inspect.signature,
    "parameters' kinds": lambda f: [each.kind for each in inspect.signature(f).parameters.values()],
    "getdoc": inspect.getdoc,
    "getcomments": inspect.getcomments,
    "getmodule": inspect.getmodule,
    "source": lambda f: hash(str(inspect.getsourcelines(f))),
    "unwrapped": lambda f: inspect.unwrap(f).__code__,
    "unwrapped file": lambda f: inspect.getsourcefile(inspect.unwrap(f)),
    "type hints": lambda f: sorted(typing.get_type_hints(f)),
    "hash": lambda f: hash(f) == hash(f),
    "equal": lambda f: (f == f, f != f, f == 1),  # noqa: PLR0124 -- what is compared is `__eq__`
    "in a set": lambda f: f in {f},  # noqa: FURB171 -- what is compared is `__hash__`
    "ordered": lambda f: f < f,  # noqa: PLR0124 -- it raises
    "length": len,
    "iterated": iter,
    "copy": lambda f: same(copy.copy(f), f),
    "deepcopy": lambda f: same(copy.deepcopy(f), f),
    "deepcopy in a list": lambda f: same(copy.deepcopy([f])[0], f),
    **{f"pickled by {protocol}": pickled(protocol) for protocol in PROTOCOLS},
    **{f"unpickled by {protocol}": unpickled(protocol) for protocol in PROTOCOLS},
    "pickled by reference": pickled_by_reference,
    "pickle in a partial": lambda f: same(pickle.loads(pickle.dumps(functools.partial(f, 1))).func, f),
    "partial": lambda f: (functools.partial(f).func == f, str(inspect.signature(functools.partial(f)))),
    "partial is a coroutine function": lambda f: inspect.iscoroutinefunction(functools.partial(f)),
    "weak reference": lambda f: type(weakref.ref(f)()),
    "wrapped by others": wrapped_by_others,
    "help": lambda f: hash(documented(f)),
    "doctest": lambda f: [each.name for each in doctest.DocTestFinder(recurse=False).find(f, "f")],
    "wrong argument": called(not_an_argument_of_this=1),
    "too many arguments": called(*range(40)),
    "no argument": called(),
    "autospec": lambda f: str(inspect.signature(mock.create_autospec(f))),
}

OF_A_FUNCTION: dict[str, Fact] = {
    "__defaults__": attribute("__defaults__"),
    "__kwdefaults__": attribute("__kwdefaults__"),
    "globals": lambda f: f.__globals__["__name__"],
    "an attribute": sets_an_attribute,
    "in another class": in_another_class,
    "bound by hand": lambda f: (type(f.__get__(1)), f.__get__(1).__self__, f.__get__(1).__func__ is f),
    "MethodType": lambda f: types.MethodType(f, 1) == types.MethodType(f, 1),
    "__get__ without an instance": lambda f: f.__get__(None, int) is f,
    "in a registry": lambda f: functools.singledispatch(f).dispatch(object) is f,
    "names in vars": lambda f: sorted(set(vars(f)) - {"__wrapped__"}),
    "names in dir": lambda f: sorted(set(dir(f)) - {"__wrapped__"}),
}


def overridden(function: Function) -> Any:
    def override(self: Any) -> Any:
        return getattr(super(below, self), function.name)

    below = type("Below", (function.owner,), {function.name: override})
    found = getattr(object.__new__(below), function.name)()
    return type(found), found.__func__ is function.plain, found.__qualname__


def inherited(function: Function) -> Any:
    below = type("Below", (function.owner,), {})
    return getattr(below, function.name) is function.plain, type(getattr(object.__new__(below), function.name))


def kind_in_class(function: Function) -> Any:
    (found,) = (each for each in inspect.classify_class_attrs(function.owner) if each.name == function.name)
    return found.kind, found.defining_class, type(found.object)


def mocked(function: Function) -> Any:
    before = function.plain
    with mock.patch.object(function.owner, function.name, autospec=True) as stand_in:
        during = type(stand_in), stand_in is function.plain
    return during, function.plain is before


OF_ITS_PLACE: dict[str, Callable[[Function], Any]] = {
    "found twice": lambda function: function.plain is function.plain,
    "static": lambda function: type(inspect.getattr_static(function.owner, function.name)),
    "in vars": lambda function: function.name in vars(function.owner),
    "as a member": lambda function: (
        function.name in dict(inspect.getmembers_static(function.owner, inspect.isfunction))
    ),
    "patched by a test": mocked,
}
OF_ITS_CLASS: dict[str, Callable[[Function], Any]] = {
    "names of its class": lambda function: [each for each in vars(function.owner) if not each.startswith("__")],
    "overridden": overridden,
    "inherited": inherited,
    "kind in its class": kind_in_class,
    "static of an instance": lambda function: type(inspect.getattr_static(function.instance, function.name)),
    "instance": lambda function: function.bound.__self__ is function.instance,
    "function of the bound": lambda function: function.bound.__func__ is function.plain,
    "bound twice": lambda function: (function.bound == function.bound, function.bound is function.bound),
    "hash of the bound": lambda function: hash(function.bound) == hash(function.bound),
    "bound to another": lambda function: function.bound == getattr(object.__new__(function.owner), function.name),
    "WeakMethod": lambda function: weakref.WeakMethod(function.bound)() == function.bound,
    "kept on the instance": lambda function: vars(function.instance) == {},
}


OF_ITS_HOME = {"__module__", "getmodule", "help", "wrapped by others", "pickled by reference"}
OF_ITS_HOME |= {f"pickled by {protocol}" for protocol in PROTOCOLS}


def facts_of(function: Function) -> dict[str, str]:
    """Every fact of one function, by name."""
    forms = {"": function.plain} | ({"bound: ": function.bound} if function.is_method else {})
    found = {form + name: outcome(fact, f) for form, f in forms.items() for name, fact in ALL.items()}
    found |= {name: outcome(fact, function.plain) for name, fact in OF_A_FUNCTION.items()}
    places = OF_ITS_PLACE | (OF_ITS_CLASS if function.is_method else {})
    found |= {name: outcome(fact, function) for name, fact in places.items()}
    return found if function.is_at_home else {name: fact for name, fact in found.items() if name not in OF_ITS_HOME}
