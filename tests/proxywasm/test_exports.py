"""What `proxywasm` offers, and that importing it needs the standard library only."""

import subprocess
import sys
from pathlib import Path

import proxywasm

ABI = Path(__file__).parents[2] / "abi"


def test_the_public_names_are_these():
    assert proxywasm.__all__ == sorted(proxywasm.__all__)
    assert set(proxywasm.__all__) == {
        "Action", "Buffer", "Capabilities", "Counter", "DataAction", "Gauge", "HeaderAction", "HeaderMap", "Histogram",
        "HostError", "HttpContext", "LogLevel", "Property", "ProxyWasmError", "RedisClient", "RedisError",
        "RedisProtocolError", "RedisReplyError", "RedisScript", "RedisUnreachable", "RootContext", "Status",
        "StreamContext", "buffers", "capabilities", "clock", "continue_request", "continue_response", "enums", "errors",
        "foreign", "grpc_client", "higress", "http_client", "properties", "queues", "send_local_response",
        "shared_data", "streams",
    }  # fmt: skip
    assert all(hasattr(proxywasm, name) for name in proxywasm.__all__)


def test_it_imports_without_site_packages():
    subprocess.run(
        [sys.executable, "-S", "-I", "-c", f"import sys; sys.path.insert(0, {str(ABI)!r}); import proxywasm.vm"],
        check=True,
    )


def test_the_example_in_the_docstring_runs(sdk, host):
    doc = proxywasm.__doc__ or ""
    example = "\n".join(line.removeprefix("    ") for line in doc.splitlines() if line.startswith("    ") or not line)
    module: dict[str, object] = {"__name__": "example"}
    exec(example, module)
    sdk.vm.start(module["Filter"], "envoy")
    host.call("on_context_create", 1, 0)
    host.call("on_context_create", 2, 1)
    host.call("on_request_headers", 2, 3, True)
    assert host.named("send_local_response")[0][0] == 401
    assert host.named("replace_header_map_value") == [(0, "x-seen-by", "python")]
