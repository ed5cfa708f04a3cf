#!/usr/bin/env bash
# Every operation of docs/openapi.json, called with generated requests at the running stack: no 5xx, no status and no
# response that the document does not know. The document itself is validated as OpenAPI 3.1.
#
# SECONDS_PER_PASS (default 25) bounds each of the five passes; `SECONDS_PER_PASS=600 bash tests/api/run.sh` is the full form.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/deploy/tools.sh

openapi-spec-validator docs/openapi.json

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
python3 tests/api/passes.py "$(sed -n 's/^ready http=\([^ ]*\).*/\1/p' "$said")" "$(sed -n 's/^ready .* aws=\([^ ]*\).*/\1/p' "$said")"
