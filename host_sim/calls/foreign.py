"""Foreign functions: those of the gateway's operator, then those of the target."""

from typing import TYPE_CHECKING

from proxywasm.enums import Status

from ..errors import HostCallError
from ..foreign_functions import built_in
from .registry import host_call

if TYPE_CHECKING:
    from ..vm import Vm


@host_call
def call_foreign_function(vm: "Vm", name: bytes, argument: bytes) -> bytes:
    text = name.decode("utf-8", "replace")
    function = vm.gateway.foreign_functions.get(text) or built_in(vm.target).get(text)
    if function is None:
        raise HostCallError(Status.NOT_FOUND, f"no foreign function {text!r}")
    return function(vm, argument)
