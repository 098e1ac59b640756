from collections.abc import Callable

import pytest
import wasmtime
from proxywasm_build.plugin import Options, link_plugin
from proxywasm_build.targets import CALLBACKS, HIGRESS

from . import raw_host
from .guest_build import build_guest


@pytest.fixture(scope="session")
def new_host() -> Callable[[], raw_host.RawHost]:
    """Makes hosts of the scripted guest: each one a new VM, with root context 1 and stream context 2."""
    component = build_guest("scripted", EXPORTS=sorted(CALLBACKS))
    linked = link_plugin(component, HIGRESS, Options(keep_c_modules=True))
    engine = raw_host.engine()
    module = wasmtime.Module(engine, linked.module)

    def make() -> raw_host.RawHost:
        host = raw_host.RawHost(engine, module)
        host.call("_initialize")
        host.call("proxy_on_context_create", 1, 0)
        host.call("proxy_on_context_create", 2, 1)
        return host

    return make


@pytest.fixture
def host(new_host: Callable[[], raw_host.RawHost]) -> raw_host.RawHost:
    return new_host()
