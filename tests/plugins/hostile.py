"""A plugin that lets a request do its worst: `x-attack` names a function of ATTACKS, or `body` for what the body does.

The outcome, the name of an exception or `survived`, goes back in the response header `x-outcome`. What is to be shown:
whatever happens, the VM lives.
"""

import ast
import copy
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from proxywasm import HttpContext, RootContext

DEPTH = 20_000  # more than any stack takes
TICK_PERIOD_MS = 20


def nested(wrap: Callable[[Any], Any], depth: int = DEPTH) -> Any:
    value: Any = wrap(0)
    for _ in range(depth):
        value = wrap(value)
    return value


class Node:
    def __init__(self, child: Any = None) -> None:
        self.child = child

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.child == other.child

    def __hash__(self) -> int:
        return hash(self.child)

    def __repr__(self) -> str:
        return f"<{self.child!r}>"

    def __iter__(self) -> Iterator[Any]:
        yield from iter(self.child)

    def __call__(self) -> Any:
        return self.child()

    def __len__(self) -> int:
        return len(self.child)

    def __contains__(self, item: object) -> bool:
        return item in self.child

    def __lt__(self, other: "Node") -> bool:
        return bool(self.child < other.child)

    def __add__(self, other: Any) -> Any:
        return self.child + other

    def __getitem__(self, item: Any) -> Any:
        return self.child[item]

    def __index__(self) -> int:
        return self.child.__index__()  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        return bool(self.child)

    def __format__(self, spec: str) -> str:
        return format(self.child, spec)


class Endless:
    """Every operation leads back to itself."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "x"[: len(name) < 20])

    def __getitem__(self, key: Any) -> Any:
        return self[key]

    def __eq__(self, other: object) -> bool:
        return self == other

    def __hash__(self) -> int:
        return hash(self)

    def __repr__(self) -> str:
        return repr(self)

    def __str__(self) -> str:
        return f"{self}"

    def __call__(self) -> Any:
        return self()

    def __iter__(self) -> Iterator[Any]:
        return iter(self)

    def __bool__(self) -> bool:
        return bool(self)

    def __len__(self) -> int:
        return len(self)

    def __lt__(self, other: Any) -> bool:
        return sorted([self, other])[0] is self

    def __add__(self, other: Any) -> Any:
        return self + other

    def __radd__(self, other: Any) -> Any:
        return sum([self, other])

    def __contains__(self, item: object) -> bool:
        return item in self

    @property
    def prop(self) -> Any:
        return self.prop


class Meta(type):
    def __call__(cls, *args: Any) -> Any:
        return cls(*args)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls)


class Made(metaclass=Meta):
    pass


def by_sorted_key() -> Any:
    def key(x: int) -> Any:
        return sorted([x], key=key)

    return key(1)


def by_map() -> Any:
    def f(x: int) -> Any:
        return list(map(f, [x]))

    return f(1)


def by_reduce() -> Any:
    def f(x: Any, y: Any) -> Any:
        return functools.reduce(f, [x, y])

    return f(1, 2)


def by_partial() -> Any:
    def f() -> Any:
        return functools.partial(f)()

    return f()


def by_regex_callback() -> Any:
    def f(match: Any) -> Any:
        return re.sub("a", f, "a")

    return f(None)


def by_lru_cache() -> Any:
    @functools.lru_cache
    def f(n: int) -> Any:
        return f(n + 1)

    return f(0)


def by_generator() -> Any:
    def f() -> Iterator[Any]:
        yield from f()

    return list(f())


def by_class_body() -> Any:
    def f() -> Any:
        return type("A", (), {"__init_subclass__": lambda *a: f()})

    def g() -> Any:
        base = f()
        return type("B", (base,), {})

    f = g  # noqa: F811
    return g()


def by_exception_chain() -> Any:
    def f(n: int) -> Any:
        try:
            raise ValueError(n)
        finally:
            f(n + 1)

    return f(0)


def by_setattr() -> Any:
    class Setting:
        def __setattr__(self, name: str, value: Any) -> None:
            setattr(self, name, value)

    Setting().x = 1


def by_format() -> Any:
    class Formatted:
        def __format__(self, spec: str) -> str:
            return "{:x}".format(self)  # noqa: UP032

    return f"{Formatted():x}"


def by_new() -> Any:
    class New:
        def __new__(cls) -> Any:
            return cls()

    return New()


def by_descriptor() -> Any:
    class Descriptor:
        def __get__(self, instance: Any, owner: Any) -> Any:
            return instance.d

    class Owner:
        d = Descriptor()

    return Owner().d


def big_regex() -> Any:
    return re.compile("(" * 20_000 + ")" * 20_000)


def nested_quantifiers() -> Any:
    return re.match("(?:" * 2000 + "a" + ")*" * 2000, "a" * 2000)


def same(value: Callable[[Any], Any], operation: Callable[[Any], Any]) -> Callable[[], Any]:
    return lambda: operation(nested(value))


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda x: [x],
    "tuple": lambda x: (x,),
    "dict": lambda x: {"a": x},
    "frozenset": lambda x: frozenset([x]),
    "node": Node,
    "chain": lambda x: itertools.chain([x]),
    "map": lambda x: map(str, [x]),
    "partial": lambda x: functools.partial(x if callable(x) else int),
    "exception": lambda x: ValueError(x),
    "method": lambda x: Node(x).__repr__,
    "slice": lambda x: slice(x),
    "generator": lambda x: (y for y in [x]),
}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "drop": lambda value: None,
    "repr": repr,
    "str": str,
    "hash": hash,
    "eq": lambda value: value == copy.copy(value),
    "json": json.dumps,
    "deepcopy": copy.deepcopy,
    "call": lambda value: value(),
    "iterate": lambda value: list(itertools.chain.from_iterable(value)),
    "format": lambda value: f"{value}",
    "bool": bool,
    "len": len,
    "lt": lambda value: value < value,
    "in": lambda value: 5 in value,
    "add": lambda value: value + 1,
    "item": lambda value: value[0],
    "isinstance": lambda value: isinstance(5, value),
    "sorted": lambda value: sorted([value, value]),
    "max": lambda value: max(value, value),
}
ENDLESS: dict[str, Callable[[Any], Any]] = {
    "getattr": lambda value: value.anything,
    "getitem": lambda value: value[0],
    "eq": lambda value: value == 1,
    "hash": hash,
    "repr": repr,
    "str": str,
    "call": lambda value: value(),
    "iter": iter,
    "bool": bool,
    "len": len,
    "lt": lambda value: value < value,
    "add": lambda value: value + 1,
    "radd": lambda value: 1 + value,
    "in": lambda value: 1 in value,
    "prop": lambda value: value.prop,
}
ATTACKS: dict[str, Callable[[], Any]] = {
    **{
        f"{container} {operation}": same(wrap, operate)
        for container, wrap in CONTAINERS.items()
        for operation, operate in OPERATIONS.items()
    },
    **{f"endless {name}": functools.partial(operate, Endless()) for name, operate in ENDLESS.items()},
    **{f.__name__: f for f in (by_sorted_key, by_map, by_reduce, by_partial, by_regex_callback, by_lru_cache)},
    **{f.__name__: f for f in (by_generator, by_class_body, by_exception_chain, by_setattr, by_format)},
    **{f.__name__: f for f in (by_new, by_descriptor, big_regex, nested_quantifiers)},
    "metaclass call": lambda: Made(),
    "metaclass instancecheck": lambda: isinstance(5, Made),
    "literal_eval": lambda: ast.literal_eval("[" * DEPTH + "]" * DEPTH),
    "eval parentheses": lambda: eval("(" * 5000 + "1" + ")" * 5000),
    "eval unary": lambda: eval("-" * 50_000 + "1"),
    "eval sum": lambda: eval("+".join(["1"] * 50_000)),
    "eval attributes": lambda: eval("a" + ".b" * 50_000),
    "memory": lambda: b"x" * (1 << 31),
    "memory in parts": lambda: [bytes(1 << 20) for _ in range(3000)],
    "big int": lambda: int("9" * 100_000),
    "system exit": lambda: (_ for _ in ()).throw(SystemExit(3)),
    "keyboard interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
}


def outcome_of(attack: Callable[[], Any]) -> str:
    try:
        attack()
    except BaseException as error:
        return type(error).__name__
    return "survived"


class HostileHttp(HttpContext):
    def __init__(self, context_id: int, root: RootContext) -> None:
        super().__init__(context_id, root)
        self.outcome = "none"
        self.attack: str | None = None  # in body callbacks Envoy has no request headers

    def on_request_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        attack = self.attack = self.request_headers.get("x-attack")
        if attack in ATTACKS:
            self.outcome = outcome_of(ATTACKS[attack])
        elif attack == "names":
            self.outcome = ",".join(ATTACKS)
        elif attack == "uncaught":
            raise RuntimeError("on purpose")
        elif attack == "uncaught exit":
            raise SystemExit(1)
        elif attack == "negative":
            return -1
        elif attack == "text":
            return "continue"  # type: ignore[return-value]
        return None

    def on_request_body(self, body_size: int, end_of_stream: bool) -> int | None:
        if self.attack == "body":
            if not end_of_stream:
                return 1
            body = self.request_body.get() or b""
            self.outcome = outcome_of(lambda: json.loads(body))
        return None

    def on_response_headers(self, num_headers: int, end_of_stream: bool) -> int | None:
        self.response_headers.set("x-outcome", self.outcome)
        return None


class Hostile(RootContext):
    http_context = HostileHttp


def raising(self: HttpContext, *arguments: object) -> Any:
    raise RuntimeError("on purpose")


class RaisingHttp(HttpContext):
    """Every callback raises."""

    on_request_headers: Any = raising
    on_request_body: Any = raising
    on_request_trailers: Any = raising
    on_response_headers: Any = raising
    on_response_body: Any = raising
    on_response_trailers: Any = raising
    on_done: Any = raising
    on_log: Any = raising


class Raising(RootContext):
    http_context = RaisingHttp

    def on_configure(self, configuration_size: int) -> bool | None:
        self.set_tick_period(TICK_PERIOD_MS)
        return True

    def on_tick(self) -> None:
        raise RuntimeError("on purpose")
