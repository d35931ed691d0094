"""What the measurements share: processes, their cost, and the cores they run on."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))
SEARCH_CORE = CORES[-1]


@dataclass
class Cost:
    """What a build took."""

    wall_seconds: float | None
    cpu_seconds: float


def say(text):
    """Progress goes to standard error: standard output is the table alone."""
    print(text, file=sys.stderr, flush=True)


def resident_bytes(pid="self"):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE


def json_lines(command, core=None):
    """The lines of JSON that an external command prints, run on one core if told to."""
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    output = subprocess.run([*pinned, *map(str, command)], check=True, stdout=subprocess.PIPE)
    return [json.loads(line) for line in output.stdout.splitlines() if line.startswith(b"{")]
