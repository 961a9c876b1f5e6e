# Sourced by `run`: every tool that a step needs, by name and pinned version, installed once into the cache folder.
# shellcheck shell=bash

CARGO_DENY=0.20.2
JSONSCHEMA_RS=0.60.3
PLAYWRIGHT_CORE=1.65.1
STRIPE_CLI=1.52.0
STRIPE_MOCK=v0.203.0

TOOLS="${XDG_CACHE_HOME:-$HOME/.cache}/tollgate"
SKIP=75 # A step's exit code for "this could not be checked here".

skip() {
    echo "SKIPPED $1: $2"
    exit "$SKIP"
}

# once NAME COMMAND… installs into $TOOLS/NAME unless it is already complete there; one retry, for a registry's bad moment.
once() {
    local into="$TOOLS/$1"
    shift
    [[ -e "$into/.complete" ]] && return
    echo "installing into $into"
    rm -rf "$into"
    mkdir -p "$into"
    "$@" "$into" || "$@" "$into" || return 1
    touch "$into/.complete"
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

need_cargo_deny() {
    local name="cargo-deny-$CARGO_DENY"
    install() { cargo install --quiet --locked --debug --target-dir "$CARGO_TARGET_DIR" --root "$1" "cargo-deny@$CARGO_DENY"; }
    once "$name" install || skip cargo-deny "crates.io did not give version $CARGO_DENY"
    export PATH="$TOOLS/$name/bin:$PATH"
}

need_stripe_mock() {
    local name="stripe-mock-$STRIPE_MOCK"
    command -v go >/dev/null || skip stripe-mock "there is no Go toolchain"
    install() { GOBIN="$1" go install "github.com/stripe/stripe-mock@$STRIPE_MOCK"; }
    once "$name" install || skip stripe-mock "the Go module proxy did not give $STRIPE_MOCK"
    STRIPE_OPENAPI="$(go env GOMODCACHE)/github.com/stripe/stripe-mock@$STRIPE_MOCK/embedded/openapi"
    [[ -e "$STRIPE_OPENAPI/spec3.json" ]] || go mod download "github.com/stripe/stripe-mock@$STRIPE_MOCK"
    export STRIPE_OPENAPI PATH="$TOOLS/$name:$PATH"
}

need_node_package() { # NAME VERSION
    local name="${1//[@\/]/}-$2"
    command -v npm >/dev/null || skip "$1" "there is no npm"
    install() { npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix "$2" "$1"; }
    once "$name" install "$1@$2" || skip "$1" "the npm registry did not give version $2"
    export PATH="$TOOLS/$name/node_modules/.bin:$PATH" NODE_MODULES="$TOOLS/$name/node_modules"
}

need_python() {
    local name="python-jsonschema-rs-$JSONSCHEMA_RS"
    install() { python3 -m venv "$1" && "$1/bin/pip" install --quiet "jsonschema-rs==$JSONSCHEMA_RS"; }
    once "$name" install || skip jsonschema-rs "PyPI did not give version $JSONSCHEMA_RS"
    export PATH="$TOOLS/$name/bin:$PATH"
}

need_chromium() {
    [[ -x /usr/bin/chromium ]] && return
    as_root apt-get update -q >/dev/null || true
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -q --no-install-recommends chromium >/dev/null || true
    [[ -x /usr/bin/chromium ]] || skip chromium "Debian's package could not be installed"
}
