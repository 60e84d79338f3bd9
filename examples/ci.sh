#!/usr/bin/env bash
# A CI job: measures a server and fails if a request failed, a limit is passed, or the measurement is not valid.
#
#   examples/ci.sh [FOLDER FOR THE FILES]
set -euo pipefail
rbench=${RBENCH:-rbench}
out=${1:-$(mktemp -d)}
port=${PORT:-30000}

# --launch starts the server and ends it, whatever happens. --max-errors 0 ends the run at the first failure.
"$rbench" serve --backend vllm --port "$port" \
  --launch "'$rbench' mock --port $port --ttft 20ms --itl 10ms" --launch-log "$out/server.log" \
  --dataset-name random-ids --tokenizer rbench-bundled \
  --random-input-len 128 --random-output-len 64 --random-range-ratio 1 \
  --num-prompts 200 --request-rate 40 \
  --max-errors 0 --records "$out/records.jsonl" --output-file "$out/result.jsonl" | tee "$out/table.txt"

python3 - "$out/result.jsonl" <<'PYTHON'
import json, sys

LIMITS = {"median_ttft_ms": 50, "p99_ttft_ms": 200, "median_itl_ms": 15}

with open(sys.argv[1], encoding="utf-8") as file:
    result = json.loads(file.readlines()[-1])
over = {key: result[key] for key, limit in LIMITS.items() if result[key] is None or result[key] > limit}
for key, limit in LIMITS.items():
    print(f"{'FAIL' if key in over else 'ok':4}  {key:16} {result[key]:8.2f}  (limit {limit})")
sys.exit(3 if over else 0)
PYTHON
