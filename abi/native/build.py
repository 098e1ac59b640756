"""Builds `_proxywasm.abi3.so`, the C extension of the guest, with the clang and wasm-ld of the `ziglang` wheel.

    python abi/native/build.py            build in place
    python abi/native/build.py --check    build elsewhere and compare; exit status 1 if the file in place differs

The same sources and the same ziglang give the same bytes.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE_DIR = Path(__file__).resolve().parent
LIBRARY_NAME = "_proxywasm.abi3.so"
ZIGLANG_VERSION = "0.17.1"  # another compiler gives other bytes

# The instruction set is what every host of the targets understands; the rest is the ABI of dynamic linking in wasm.
COMPILE_FLAGS = [
    *("-target", "wasm32-wasi", "-mcpu=mvp+sign_ext+nontrapping_fptoint+bulk_memory", "-std=c23"),
    *("-O2", "-fPIC", "-fvisibility=hidden", "-fno-sanitize=all"),
    *("-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"),
]
LINK_FLAGS = ["-shared", "--experimental-pic", "--allow-undefined", "--strip-debug"]


class BuildError(Exception):
    """The extension cannot be built; the text says why."""


def check_ziglang() -> None:
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError(f"ziglang is not installed in {sys.executable}: pip install ziglang=={ZIGLANG_VERSION}")
    found = importlib.metadata.version("ziglang")
    if found != ZIGLANG_VERSION:
        raise BuildError(f"ziglang {found} is installed, but the extension is built with {ZIGLANG_VERSION}")


def zig(*arguments: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "ziglang", *arguments]
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(cwd / "cache"), "ZIG_LOCAL_CACHE_DIR": str(cwd / "cache")}
    done = subprocess.run(command, cwd=cwd, env=os.environ | caches, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"zig {' '.join(arguments)} failed:\n{done.stderr}")


def build(directory: Path) -> bytes:
    """Compiles and links in `directory`; returns the library. Raises BuildError."""
    check_ziglang()
    sources = sorted(SOURCE_DIR.glob("*.c"))
    for source in sources:
        zig("cc", *COMPILE_FLAGS, "-c", str(source), "-o", f"{source.stem}.o", cwd=directory)
    objects = [f"{source.stem}.o" for source in sources]
    zig("wasm-ld", *LINK_FLAGS, *objects, "-o", LIBRARY_NAME, cwd=directory)
    return (directory / LIBRARY_NAME).read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the C extension of the guest.")
    parser.add_argument("--check", action="store_true", help="compare a fresh build with the file in place")
    check = parser.parse_args().check
    target = SOURCE_DIR / LIBRARY_NAME
    try:
        with tempfile.TemporaryDirectory() as directory:
            built = build(Path(directory))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        target.write_bytes(built)
        print(f"{target.name}: {len(built)} bytes")
    elif not target.is_file() or target.read_bytes() != built:
        print(f"{target} is not what its sources give; run: python {Path(__file__).name}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
