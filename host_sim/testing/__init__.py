"""Tests of filters: one test on the native guest, the wasm guest and a real Envoy."""
