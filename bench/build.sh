# Sourced: builds what is measured as it is deployed, into $FUNCTIONS, and `tollgate`, beside which it runs, as $TOLLGATE.
# shellcheck shell=bash

need_cargo_lambda
cargo lambda build --release --locked --package={bench,checkout,portal,profile,reconcile,webhook} --lambda-dir "$CARGO_TARGET_DIR/sam/lambda"
cargo build --workspace --locked --quiet
FUNCTIONS="$CARGO_TARGET_DIR/sam/lambda" TOLLGATE="$CARGO_TARGET_DIR/debug/tollgate"
