import pytest
import wasmtime

from host_sim.wasm_guest import INSTANTIATE_ATTEMPTS_MAX, _first_success


class Instantiation:
    """Fails with a message so many times, then gives an instance."""

    def __init__(self, failures: int, message: str) -> None:
        self.attempts = 0
        self._failures = failures
        self._message = message
        store = wasmtime.Store()
        self._instance = wasmtime.Instance(store, wasmtime.Module(store.engine, "(module)"), [])

    def __call__(self) -> wasmtime.Instance:
        self.attempts += 1
        if self.attempts <= self._failures:
            raise wasmtime.WasmtimeError(self._message)
        return self._instance


@pytest.mark.parametrize("failures", [0, 1, INSTANTIATE_ATTEMPTS_MAX - 1])
def test_a_memory_image_that_cannot_be_sealed_is_tried_again(failures: int) -> None:
    instantiation = Instantiation(failures, "cannot add seals to the memfd")
    _first_success(instantiation)
    assert instantiation.attempts == failures + 1


@pytest.mark.parametrize(
    ("message", "attempts"), [("cannot add seals to the memfd", INSTANTIATE_ATTEMPTS_MAX), ("unknown import", 1)]
)
def test_what_does_not_pass_is_an_error(message: str, attempts: int) -> None:
    instantiation = Instantiation(INSTANTIATE_ATTEMPTS_MAX, message)
    with pytest.raises(wasmtime.WasmtimeError, match=message):
        _first_success(instantiation)
    assert instantiation.attempts == attempts
