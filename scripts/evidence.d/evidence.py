"""What those who put figures on record have in common, and the tables that are made of them."""

import csv
import json
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
RESULTS = REPOSITORY / "results"


def commit():
    """The commit that is measured, and whether there are changes that it does not have."""
    command = ["bash", "-c", ". scripts/environment.sh && commit"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    return said.stdout.removeprefix("commit ")


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
