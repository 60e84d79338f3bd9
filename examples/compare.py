#!/usr/bin/env python3
"""Compares the last lines of two JSONL files of `rbench serve --output-file`.

    examples/compare.py BEFORE.jsonl AFTER.jsonl [--limit PERCENT]

With --limit, the exit code is 3 if a metric became worse by more than that.
A change below the noise of two equal runs means nothing: measure the same server twice first.
"""

import argparse
import json
import sys

# The metrics, and whether a larger value is better.
METRICS = {
    "request_throughput": True,
    "output_throughput": True,
    "median_ttft_ms": False,
    "p99_ttft_ms": False,
    "median_tpot_ms": False,
    "median_itl_ms": False,
    "median_e2e_latency_ms": False,
}


def last(path):
    with open(path, encoding="utf-8") as file:
        return json.loads(file.readlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--limit", type=float, help="largest change for the worse, in percent")
    args = parser.parse_args()
    before, after = last(args.before), last(args.after)

    config = {key: (before["rbench"]["config"].get(key), value) for key, value in after["rbench"]["config"].items()}
    for key, (old, new) in config.items():
        if old != new and key != "output_file":
            print(f"differs: {key}: {old} -> {new}")
    worse = False
    print(f"{'metric':24} {'before':>10} {'after':>10} {'change':>9}")
    for key, larger_is_better in METRICS.items():
        old, new = before.get(key), after.get(key)
        if not old or new is None:
            print(f"{key:24} {'-' if old is None else old:>10} {'-' if new is None else new:>10}")
            continue
        change = 100 * (new - old) / old
        bad = args.limit is not None and (-change if larger_is_better else change) > args.limit
        worse |= bad
        print(f"{key:24} {old:10.2f} {new:10.2f} {change:+8.1f} % {'  WORSE' if bad else ''}")
    sys.exit(3 if worse else 0)


main()
