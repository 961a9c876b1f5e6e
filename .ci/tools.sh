# Sourced by `run`: every tool that a step needs, by name and pinned version, installed once into the cache folder.
# shellcheck shell=bash

AWS_SAM_CLI=1.170.0
CARGO_DENY=0.20.2
CARGO_LAMBDA=1.9.2
CFN_LINT=1.58.0
CFN_LINT_SERVERLESS=0.3.6
CHECKOV=3.3.30
JSONSCHEMA_RS=0.60.3
MOTO=5.2.5
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

python_tool() { # FOLDER PACKAGE==VERSION…: each folder is an environment of its own, since tools disagree on what they share.
    local name="$1" packages=("${@:2}")
    install() { python3 -m venv "$1" && "$1/bin/pip" install --quiet "${packages[@]}"; }
    once "$name" install || skip "$name" "PyPI did not give ${packages[*]}"
    export PATH="$TOOLS/$name/bin:$PATH"
}

need_sam() { python_tool "sam-$AWS_SAM_CLI" "aws-sam-cli==$AWS_SAM_CLI"; }
need_cargo_lambda() { python_tool "cargo-lambda-$CARGO_LAMBDA" "cargo-lambda==$CARGO_LAMBDA"; }
need_cfn_lint() { python_tool "cfn-lint-$CFN_LINT" "cfn-lint==$CFN_LINT" "cfn-lint-serverless==$CFN_LINT_SERVERLESS"; }
need_moto() { python_tool "moto-$MOTO" "moto[server]==$MOTO"; }
need_checkov() { python_tool "checkov-$CHECKOV" "checkov==$CHECKOV"; }

need_docker() { # Where no daemon answers, one runs until the step ends.
    docker info >/dev/null 2>&1 && return
    if ! command -v dockerd >/dev/null; then
        as_root apt-get update -q >/dev/null || true
        DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -q --no-install-recommends docker.io >/dev/null || true
        command -v dockerd >/dev/null || skip docker "Debian's package could not be installed"
        docker info >/dev/null 2>&1 && return
    fi
    local log="$TOOLS/dockerd.log" root=()
    [[ $EUID -eq 0 ]] || root=(sudo -n)
    "${root[@]}" dockerd >"$log" 2>&1 &
    local daemon=$!
    # shellcheck disable=SC2064
    trap "${root[*]} kill $daemon 2>/dev/null || true; wait $daemon || true" EXIT
    for _ in {1..60}; do
        docker info >/dev/null 2>&1 && return
        kill -0 "$daemon" 2>/dev/null || break
        sleep 1
    done
    tail -5 "$log"
    skip docker "its daemon does not start on this machine"
}

# AWS's image for functions cannot be had everywhere. What takes its place is Debian with its C library, under the name by which
# SAM knows the image; the functions are tied to nothing else (sam.py looks which versions of it they ask for).
need_lambda_image() {
    local name=lambda-image-bookworm image=public.ecr.aws/lambda/provided:al2023-x86_64
    docker image inspect "$image" >/dev/null 2>&1 && return
    if ! command -v debootstrap >/dev/null; then
        as_root apt-get update -q >/dev/null || true
        DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -q --no-install-recommends debootstrap >/dev/null || true
        command -v debootstrap >/dev/null || skip debootstrap "Debian's package could not be installed"
    fi
    install() {
        as_root rm -rf "$1/root"
        as_root debootstrap --variant=minbase --include=ca-certificates bookworm "$1/root" >"$1/log" || return 1
        as_root tar -C "$1/root" --exclude=./var/cache/apt --exclude=./var/lib/apt/lists --exclude=./usr/share/doc \
            --exclude=./usr/share/man --exclude=./usr/share/locale -czf "$1/root.tar.gz" . || return 1
        as_root rm -rf "$1/root"
    }
    once "$name" install || skip debootstrap "Debian bookworm could not be installed into a folder"
    docker import "$TOOLS/$name/root.tar.gz" "$image" >/dev/null
}

need_chromium() {
    [[ -x /usr/bin/chromium ]] && return
    as_root apt-get update -q >/dev/null || true
    DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -q --no-install-recommends chromium >/dev/null || true
    [[ -x /usr/bin/chromium ]] || skip chromium "Debian's package could not be installed"
}
