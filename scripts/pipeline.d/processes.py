"""Processes that outlive the command that starts them, known by pid and start time."""

import os
import signal
import subprocess
import time
from pathlib import Path

# After SIGTERM a part may finish what it has begun; the broker writes a snapshot.
STOP_SECONDS = 60
# The kernel takes back a killed process at once, but for its memory.
KILL_SECONDS = 20


def start_time(pid):
    """When a process started, in ticks since boot; None when there is none. A zombie is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may hold anything.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def start(command, log):
    """Starts a process of its own session, its output behind what the log holds."""
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return {"pid": process.pid, "started": start_time(process.pid)}


def is_alive(process):
    """Whether it is still this process, and not another one that got its number."""
    return process is not None and process["started"] is not None and start_time(process["pid"]) == process["started"]


def send(process, number):
    if is_alive(process):
        try:
            os.kill(process["pid"], number)
        except ProcessLookupError:
            pass


def end(process, kill=False):
    """Ends it; False when it had to be killed although that was not asked for."""
    send(process, signal.SIGKILL if kill else signal.SIGTERM)
    # One that is stopped (SIGSTOP) would never hear of it.
    send(process, signal.SIGCONT)
    if wait_until(lambda: not is_alive(process), KILL_SECONDS if kill else STOP_SECONDS):
        return True
    send(process, signal.SIGKILL)
    wait_until(lambda: not is_alive(process), KILL_SECONDS)
    return False


def wait_until(holds, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        # A child of ours that ended is a zombie until it is looked at.
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            pass
        time.sleep(0.05)
    return True


def memory_mib(process):
    """Resident memory in MiB."""
    status = Path(f"/proc/{process['pid']}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) >> 10
