"""A fault that is planted in one replica, which the checks of the scenario `fleet` must find."""

import subprocess
import time

from afterwards import faults_afterwards, faults_meanwhile
from fleet import Fleet
from harness import CHECKOUT, check
from workload import REPLICAS, Workload

SICK = "b"
# At a thousand actions a second, several times what the sick replica reads until it drops one.
SECONDS = 40


def built():
    """The server with the fault, beside the one without."""
    target = CHECKOUT / "target"
    build = ["cargo", "build", "--locked", "--release", "--target-dir", target]
    build += ["--features", "planted-faults", "--bin", "pinnersage-planted"]
    check(subprocess.run(build, cwd=CHECKOUT, check=False).returncode == 0, "cargo has not built it")
    return target / "release/pinnersage-planted"


def planted(kit, stack):
    """One of three replicas drops one action of 10,000, and is found out. In the long form only."""
    fleet = Fleet(kit, stack, binaries={SICK: kit.planted or built()})
    with Workload(fleet):
        time.sleep(SECONDS)
    fleet.await_caught_up()
    faults = [*faults_meanwhile(fleet.history), *faults_afterwards(fleet)]
    found = {(fault.kind, fault.place) for fault in faults}
    told = "; ".join(map(str, faults)) or "none"
    for wanted in (("missing", f"replica {SICK}"), ("differing", "the replicas")):
        check(wanted in found, f"not found: {wanted}; found: {told}")
    wrong = {place for _, place in found} & {f"replica {name}" for name in REPLICAS if name != SICK}
    check(not wrong, f"found where nothing is wrong: {wrong}; found: {told}")
    return f"found: {told}"


# It takes a build of its own.
LONG_SCENARIOS = [planted]
