"""The statements of an SQL file, for those that take one at a time: HTTP, and chdb where each must say
whether it failed."""

import re


def statements(text):
    """A statement ends with a semicolon at the end of its line, as in all our files."""
    for statement in re.split(r";[ \t]*$", text, flags=re.M):
        lines = [line for line in statement.splitlines() if line.strip() and not line.lstrip().startswith("--")]
        if lines:
            yield "\n".join(lines)
