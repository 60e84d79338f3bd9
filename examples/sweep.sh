#!/usr/bin/env bash
# One run for each number of requests in flight, and a table of what came out.
#
#   examples/sweep.sh [FOLDER FOR THE FILES]
set -euo pipefail
rbench=${RBENCH:-rbench}
out=${1:-$(mktemp -d)}
port=${PORT:-30000}

"$rbench" mock --port "$port" --itl 5ms --max-batch 16 2> "$out/server.log" &
trap 'kill $!' EXIT

for cap in 1 2 4 8 16 32; do
  "$rbench" serve --backend vllm --port "$port" \
    --dataset-name random-ids --tokenizer rbench-bundled \
    --random-input-len 128 --random-output-len 32 --random-range-ratio 1 \
    --num-prompts $((cap * 10)) --max-concurrency "$cap" \
    --output-file "$out/sweep.jsonl" > "$out/table-$cap.txt" 2>> "$out/log.txt"
done

python3 - "$out/sweep.jsonl" <<'PYTHON'
import json, sys

print(f"{'in flight':>9} {'req/s':>8} {'tok/s':>8} {'TTFT p50':>9} {'TTFT p99':>9} {'ITL p50':>8}")
with open(sys.argv[1], encoding="utf-8") as file:
    for run in map(json.loads, file):
        print(
            f"{run['max_concurrency']:9} {run['request_throughput']:8.1f} {run['output_throughput']:8.0f}"
            f" {run['median_ttft_ms']:9.1f} {run['p99_ttft_ms']:9.1f} {run['median_itl_ms']:8.2f}"
        )
PYTHON
