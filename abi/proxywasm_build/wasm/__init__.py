"""Reading and writing core WebAssembly modules: no more of the format than a linker needs."""
