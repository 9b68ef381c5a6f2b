"""What the tables have in common."""

import csv
import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RESULTS = REPOSITORY / "results"


def number(value):
    """Three digits that count, more where there are more before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head, rows, align=""):
    """Lines of a Markdown table; `align` has an r for each column of numbers."""
    marks = ["---:" if mark == "r" else "---" for mark in align.ljust(len(head))]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(marks) + " |"]
    return lines + ["| " + " | ".join(str(cell) for cell in cells) + " |" for cells in rows]


def read(name):
    """A file of results/: JSON, or the machine and the rows of a TSV."""
    path = RESULTS / name
    if path.suffix == ".json":
        return json.loads(path.read_text())
    first, rest = path.read_text().split("\n", 1)
    return first.removeprefix("# "), list(csv.DictReader(rest.splitlines(), delimiter="\t"))
