#!/usr/bin/env bash
# A delivery of the running stack, checked by the reference libraries of Standard Webhooks.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/deploy/tools.sh

said=$(mktemp)
cargo dev --ephemeral --port 0 > "$said" 2>&1 &
host=$!
finish() {
  status=$?
  kill "$host" 2>/dev/null || true
  if [ "$status" -ne 0 ]; then tail -n 40 "$said"; fi
  rm -f "$said"
  exit "$status"
}
trap finish EXIT
for _ in $(seq 600); do
  if grep -q '^ready ' "$said" || ! kill -0 "$host" 2>/dev/null; then break; fi
  sleep 1
done
python3 tests/webhooks/verify.py "$(sed -n 's/^ready http=\([^ ]*\).*/\1/p' "$said")"
