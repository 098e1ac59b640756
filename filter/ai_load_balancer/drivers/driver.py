"""The interface of a driver."""

from typing import Protocol

from proxywasm import HttpContext
from proxywasm.contexts import wanted_callbacks

from ..explanation import DecisionHeader, Explainer

SLOW_TICK_PERIOD_MS = 20_000  # of a driver that has little to look after


class Driver(Protocol):
    """One policy configuration at work. A driver that was replaced goes on until it is idle."""

    tick_period_ms: int
    """How often `on_tick` is wanted at least; it may be called more often."""

    @property
    def context_class(self) -> type[HttpContext]: ...

    @property
    def is_idle(self) -> bool:
        """No request holds anything that the driver must look after."""

    def on_tick(self) -> None: ...


def bound(context_class: type[HttpContext], driver: Driver, explainer: Explainer | None = None) -> type[HttpContext]:
    """The context class of one driver: what all its requests share is an attribute of the class, so it is free."""
    if explainer is None or not explainer.header:
        return type(context_class.__name__, (context_class,), {"driver": driver})
    attributes = {"driver": driver, "decision_header": explainer.header}
    telling = type(context_class.__name__, (DecisionHeader, context_class), attributes)
    wanted_callbacks(telling)  # the response's headers, even if the policy does without
    return telling
