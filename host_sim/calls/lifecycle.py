"""Log, time, timer, contexts."""

from typing import TYPE_CHECKING

from proxywasm.enums import LogLevel, Status

from ..errors import HostCallError
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm


@host_call
def log(vm: "Vm", level: int, message: bytes) -> None:
    if level > LogLevel.CRITICAL:
        raise HostCallError(Status.BAD_ARGUMENT, f"no log level {level}")
    vm.log(LogLevel(level), message.decode("utf-8", "replace"), vm.effective_id)


@host_call
def get_log_level(vm: "Vm") -> int:
    return vm.gateway.log_level


@host_call
def get_current_time_nanoseconds(vm: "Vm") -> int:
    return vm.gateway.scheduler.realtime_ns()


@host_call
def set_tick_period_milliseconds(vm: "Vm", period_ms: int) -> None:
    """0 stops the timer."""
    vm.set_tick(vm.effective_root(), period_ms)


@host_call
def done(vm: "Vm") -> None:
    """Ends what an on_done that returned false has put off; only the root context's can be put off."""
    root = vm.effective_root()
    if not root.done_pending:
        raise HostCallError(Status.NOT_FOUND, "no on_done is pending")
    root.done_pending = False
    vm.after_callback(lambda: vm.delete_root(root))


@host_call
def set_effective_context(vm: "Vm", context_id: int) -> None:
    if context_id and context_id not in vm.contexts:  # 0 is the VM itself
        raise HostCallError(Status.BAD_ARGUMENT, f"no context {context_id}")
    vm.effective_id = context_id
