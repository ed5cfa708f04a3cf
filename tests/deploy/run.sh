#!/usr/bin/env bash
# The deploy proof: builds every function with cargo-lambda, deploys the real template to ministack with the real
# `sam deploy`, runs the black-box suite against the result, then every sample event under the runtime interface
# emulator. Needs Python 3 and nothing else; listens on loopback only.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/deploy/tools.sh

functions=$(cd functions && ls)
echo "== building: $(echo $functions)"
cargo lambda build --release --compiler cargo $(printf -- '--package %s ' $functions)
cargo build --quiet --bin switchyard-sandbox --bin switchyard
if [ -n "${CARGO_TARGET_DIR:-}" ] && [ ! -e target/lambda ]; then
  mkdir -p target && ln -s "$CARGO_TARGET_DIR/lambda" target/lambda   # where the template's CodeUri looks
fi

work=$(mktemp -d)
pids=()
finish() {
  status=$?
  kill "${pids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
  if [ "$status" -ne 0 ]; then tail -n 60 "$work"/*.log; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
sandbox_port=$(free_port)
export AWS_ENDPOINT_URL="http://127.0.0.1:$port" SANDBOX_URL="http://127.0.0.1:$sandbox_port"
"${CARGO_TARGET_DIR:-target}/debug/switchyard-sandbox" --port "$sandbox_port" > "$work/sandbox.log" 2>&1 &
pids+=($!)
BIND_HOST=127.0.0.1 GATEWAY_PORT=$port LAMBDA_EXECUTOR=local LOG_LEVEL=INFO TMPDIR="$work" ministack > "$work/ministack.log" 2>&1 &
pids+=($!)

export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1
python3 tests/deploy/stack.py wait

echo "== deploying"
started=$(date +%s)
sam deploy --template template.yaml --stack-name switchyard-dev --capabilities CAPABILITY_IAM --resolve-s3 \
  --no-progressbar --parameter-overrides $(python3 tests/deploy/stack.py parameters) > "$work/deploy.log" 2>&1
"$tools/python" tests/deploy/stack.py routes
echo "deployed in $(($(date +%s) - started)) s"

echo "== black-box suite against the deployed stack"
"$tools/python" tests/deploy/stack.py environment > "$work/environment"
set -a; . "$work/environment"; set +a
cargo test --test suite -- e2e::

echo "== the command line finds the deployed stage"
cli="${CARGO_TARGET_DIR:-target}/debug/switchyard"
"$cli" --stage dev outputs | tee "$work/outputs"
grep -q '^HttpApiUrl  https://' "$work/outputs"
"$cli" --stage dev dlq list
"$cli" --stage dev keys create --organization org-1 | grep '^so_test_'

echo "== sample events under the runtime interface emulator"
"$tools/python" tests/deploy/rie.py
