"""What criterion measured, of its folder:

    keep.py FOLDER MACHINE                puts it on record as results/bench.json
    keep.py FOLDER MACHINE REV yes|no     prints it before and after, REV being before; yes puts that on record, too, as
                                          results/changes/since-REV.json
"""

import json
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent.parent / "results"


def measured(folder, name):
    """A mean and the bounds of its confidence interval (95 %), in ns, or as a part of 1 where it is of a change."""
    mean = json.loads((folder / name / "estimates.json").read_text())["mean"]
    bounds = mean["confidence_interval"]
    return mean["point_estimate"], bounds["lower_bound"], bounds["upper_bound"]


def benches(criterion):
    """The folder of each benchmark of this run, by name."""
    for path in sorted(criterion.rglob("new/benchmark.json")):
        yield json.loads(path.read_text())["full_id"], path.parent.parent


def all_of_them(criterion, machine):
    found = {}
    for name, folder in benches(criterion):
        figures = dict(zip(("mean_ns", "low_ns", "high_ns"), measured(folder, "new")))
        found[name] = {name: round(value, 2) for name, value in figures.items()}
    file = RESULTS / "bench.json"
    file.write_text(json.dumps({"machine": machine, "benches": found}, indent=1) + "\n")
    print(f"{len(found)} benchmarks: {file.name}")


def before_and_after(criterion, machine, revision, keep):
    found = {}
    print(f"{'ns':44} {'before':>12} {'after':>12} {'change':>9}   95 % confidence")
    for name, folder in benches(criterion):
        if not (folder / "before").is_dir():
            continue
        (before, *_), (after, *_) = measured(folder, "before"), measured(folder, "new")
        change = [round(100 * value, 2) for value in measured(folder, "change")]
        found[name] = {"before_ns": round(before, 2), "after_ns": round(after, 2)}
        found[name] |= dict(zip(("change_percent", "low_percent", "high_percent"), change))
        print(f"{name:44} {before:12,.1f} {after:12,.1f} {change[0]:+8.1f} %   {change[1]:+.1f} % to {change[2]:+.1f} %")
    if keep == "yes":
        file = RESULTS / f"changes/since-{revision[:12]}.json"
        file.write_text(json.dumps({"machine": machine, "before": revision[:12], "benches": found}, indent=1) + "\n")
        print(f"on record: results/changes/{file.name}")


def main():
    criterion, machine, *comparison = sys.argv[1:]
    if comparison:
        before_and_after(Path(criterion), machine, *comparison)
    else:
        all_of_them(Path(criterion), machine)


main()
