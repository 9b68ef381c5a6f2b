"""Puts on record what criterion measured: `keep.py FOLDER MACHINE [BEFORE]`. FOLDER is criterion's; with BEFORE, the
name of the revision whose figures are saved there as `before`, the comparison goes to results/bench-compared.json, else
the figures to results/bench.json."""

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent.parent / "results"


def interval(estimate):
    bounds = estimate["confidence_interval"]
    return estimate["point_estimate"], bounds["lower_bound"], bounds["upper_bound"]


def read(path):
    return json.loads(path.read_text())


def plain(folder):
    mean, low, high = interval(read(folder / "new/estimates.json")["mean"])
    return {"mean_ns": round(mean, 2), "low_ns": round(low, 2), "high_ns": round(high, 2)}


def compared(folder):
    change, low, high = interval(read(folder / "change/estimates.json")["mean"])
    return {
        "before_ns": round(interval(read(folder / "before/estimates.json")["mean"])[0], 2),
        "after_ns": round(interval(read(folder / "new/estimates.json")["mean"])[0], 2),
        "change_percent": round(100 * change, 2),
        "low_percent": round(100 * low, 2),
        "high_percent": round(100 * high, 2),
    }


def main():
    criterion, machine, before = Path(sys.argv[1]), sys.argv[2], (sys.argv[3:] or [None])[0]
    benches = {}
    for path in sorted(criterion.rglob("new/benchmark.json")):
        folder = path.parent.parent
        if before and not (folder / "change/estimates.json").exists():
            continue
        benches[read(path)["full_id"]] = compared(folder) if before else plain(folder)
    found = {"machine": machine, **({"before": before, "after": "this tree"} if before else {}), "benches": benches}
    file = RESULTS / ("bench-compared.json" if before else "bench.json")
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(benches)} benchmarks: {file.relative_to(RESULTS.parent)}")


main()
