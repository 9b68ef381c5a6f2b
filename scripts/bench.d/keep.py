"""Puts on record what criterion measured: `keep.py FOLDER MACHINE`, where FOLDER is criterion's, into results/bench.json."""

import json
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent.parent / "results/bench.json"


def main():
    criterion, machine = Path(sys.argv[1]), sys.argv[2]
    benches = {}
    for path in sorted(criterion.rglob("new/benchmark.json")):
        mean = json.loads((path.parent / "estimates.json").read_text())["mean"]
        bounds = mean["confidence_interval"]
        figures = {"mean_ns": mean["point_estimate"], "low_ns": bounds["lower_bound"], "high_ns": bounds["upper_bound"]}
        benches[json.loads(path.read_text())["full_id"]] = {name: round(value, 2) for name, value in figures.items()}
    FILE.write_text(json.dumps({"machine": machine, "benches": benches}, indent=1) + "\n")
    print(f"{len(benches)} benchmarks: {FILE.name}")


main()
