"""The driver of a policy whose requests hold leases in Redis."""

from typing import Generic, TypeVar

from proxywasm import HttpContext

from ..leases import Leases
from .driver import bound

L = TypeVar("L", bound=Leases)


class LeaseDriver(Generic[L]):
    """Contexts of `context_class` take their leases here, and the tick renews them."""

    def __init__(self, leases: L, context_class: type[HttpContext]) -> None:
        self.leases = leases
        self.context_class = bound(context_class, self)

    @property
    def is_idle(self) -> bool:
        return not self.leases.are_held

    def on_tick(self) -> None:
        self.leases.renew()
