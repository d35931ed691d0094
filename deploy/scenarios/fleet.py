"""A scenario of three replicas that share a log, while nodes of its engine and replicas die."""

import itertools
import shutil
import signal
import time

from afterwards import ARCHIVE_EVERY, SLACK, Fault, faults_afterwards, faults_meanwhile, share_the_rest
from engine import STREAMS, Engine
from harness import Envoy, Load, Server, answers, check, quantile, until
from history import History, merge, overlaps
from workload import ENVOY, RATE, REPLICAS, Reads, Workload

# Of tokens of hides, those that other replicas honor at the default wait.
HONORED = 0.999
# Kinds of events, and for how many seconds a replica may be without what another one acknowledged.
NODE_DIES, REPLICA_DIES, NODE_HANGS = "a node dies", "a replica dies", "a node hangs"
ROLLING = "rolling restart"
GOALS = {NODE_DIES: 0.2, REPLICA_DIES: 0.2, NODE_HANGS: 5.0}


class Fleet:
    """The engine, the replicas and Envoy before them; and what was seen of them."""

    def __init__(self, kit, stack, binaries=None):
        """`binaries` has the replicas that run another program than the rest, by name."""
        self.kit, self._stack, self.history = kit, stack, History()
        self.archive = kit.directory / "archive"
        self.engine = Engine(kit, stack)
        self._binaries = binaries or {}
        self._settings = {
            "ACTIONS__LOG__KIND": "nats",
            "ACTIONS__LOG__URL": self.engine.url,
            "ACTIONS__ARCHIVE": str(self.archive),
            "ACTIONS__ARCHIVE_EVERY": f"{ARCHIVE_EVERY:g}s",
            "SERVE__DRAIN_DELAY": "5s" if kit.long else "1s",
        }
        self.servers = {name: self._start(name) for name in REPLICAS}
        endpoints = [(server.address, "stable", 1) for server in self.servers.values()]
        self.envoy = stack.enter_context(Envoy(kit, endpoints, fleet=True))
        self.addresses = {n: server.address for n, server in self.servers.items()}
        self.addresses[ENVOY] = self.envoy.address
        self.engine.await_settled()

    def data(self, name):
        return self.kit.directory / f"data-{name}"

    def _start(self, name, **more):
        more |= self._settings
        server = Server(self.kit, data=self.data(name), binary=self._binaries.get(name), **more)
        return self._stack.enter_context(server)

    def restart(self, name, disk_too=False):
        """Kills a replica, and starts it again. Returns how long it took until it was ready."""
        old, killed = self.servers[name], time.monotonic()
        old.signal(signal.SIGKILL)
        old.wait()
        if disk_too:
            shutil.rmtree(self.data(name))
        started = time.monotonic()
        self.servers[name] = self._start(name, port=old.port)
        ready = time.monotonic()
        self.history.gone(name, killed, ready)
        return ready - started

    def restart_in_order(self, name):
        """Lets a replica end its calls, and starts it again."""
        begun = time.monotonic()
        start = lambda **more: self._start(name, **more)
        self.servers[name], _ = self.envoy.restart(self.servers[name], start)
        self.history.gone(name, begun, time.monotonic())

    def call(self, name, *arguments):
        """A command that calls a replica."""
        server = f"http://{self.servers[name].address}"
        self.kit.pinnersage(*map(str, arguments), "--server", server)

    def writable(self):
        """For each replica whether it says that it records."""
        return [server.metrics()["pinnersage_log_writable"] == 1 for server in self.servers.values()]

    def await_caught_up(self):
        """Waits until each replica has read all that the engine has."""
        log = "pinnersage_action_log_"

        def caught_up():
            told = [server.metrics() for server in self.servers.values()]
            return all(m.get(f"{log}ready") == 1 and m.get(f"{log}lag_messages") == 0 for m in told)

        # Replicas ask twice a second how far the engine is.
        time.sleep(2)
        until("all replicas caught up", caught_up, 60)


# Events: done to a fleet, for the time of a round, and for so many seconds.


def kill_node(fleet, name, seconds):
    fleet.engine.kill(name)
    time.sleep(seconds)
    fleet.engine.start(name)


def kill_leader(fleet, turn, seconds):
    """The node that leads a stream of actions."""
    kill_node(fleet, fleet.engine.leader(f"pinnersage-{turn % STREAMS}"), seconds)


def kill_follower(fleet, _, seconds):
    """A node that does not lead the stream of pins and erasures."""
    kill_node(fleet, fleet.engine.follower("pinnersage-control"), seconds)


def kill_replica(fleet, turn, _):
    """A replica; its checkpoint stays."""
    return fleet.restart(REPLICAS[(turn + 1) % len(REPLICAS)])


def kill_replica_and_disk(fleet, turn, _):
    """A replica with its checkpoint."""
    return fleet.restart(REPLICAS[(turn + 2) % len(REPLICAS)], disk_too=True)


def freeze_leader(fleet, turn, seconds):
    """The node that leads a stream stands still, with all its connections open."""
    name = fleet.engine.leader(f"pinnersage-{(turn + 1) % STREAMS}")
    fleet.engine.freeze(name)
    time.sleep(seconds)
    fleet.engine.thaw(name)


EVENTS = {
    kill_leader: NODE_DIES, kill_follower: NODE_DIES, kill_replica: REPLICA_DIES,
    freeze_leader: NODE_HANGS, kill_replica_and_disk: REPLICA_DIES,
}


def restart_all_in_order(fleet):
    """All replicas and then all nodes, one after the other, each when the one before is well again."""
    begun = time.monotonic()
    for name in REPLICAS:
        fleet.restart_in_order(name)
    for name in fleet.engine.nodes:
        fleet.engine.stop_in_order(name)
        fleet.engine.start(name)
        fleet.engine.await_settled()
    fleet.history.happened(ROLLING, begun, time.monotonic())
    return time.monotonic() - begun


def lose_majority(fleet, seconds):
    """Two of three nodes: reads go on, writes are refused, and all comes back by itself."""
    history, begun = fleet.history, time.monotonic()
    names = list(fleet.engine.nodes)[:2]
    for name in names:
        fleet.engine.kill(name)
    refused = len(history.refusals)
    until("a refused write", lambda: len(history.refusals) > refused, 30)
    # The node that is left may answer as a leader for a while.
    until("replicas that say so", lambda: not any(fleet.writable()), 60)
    ready = [answers(server.ops, "/readyz") for server in fleet.servers.values()]
    check(all(ready), f"without the engine, replicas that are ready: {ready}")
    time.sleep(seconds)
    for name in names:
        fleet.engine.start(name)
    fleet.engine.await_settled()
    until("replicas that take writes again", lambda: all(fleet.writable()), 30)
    history.gone("majority", begun, time.monotonic())


def fleet(kit, stack):
    """Three replicas share a log, and its nodes and replicas die in turn: each action counts once."""
    # (rounds, seconds from one event to the next, of a death, of standing still)
    rounds, every, dead, still = (6, 20, 5, 15) if kit.long else (1, 3, 1, 3)
    fleet = Fleet(kit, stack)
    starts, reads = [], Reads()
    with Workload(fleet), Load(fleet.envoy.address, callers=2, pause=0.02, call=reads) as load:
        time.sleep(2 * every)
        for turn, (event, kind) in itertools.product(range(rounds), EVENTS.items()):
            fleet.engine.spread()
            begun = time.monotonic()
            starts.append(event(fleet, turn, still if kind == NODE_HANGS else dead))
            fleet.engine.await_settled()
            ended = time.monotonic()
            fleet.history.happened(kind, begun, ended)
            time.sleep(max(1.0, every - (ended - begun)))
        restarted = restart_all_in_order(fleet)
        lose_majority(fleet, still)
        load.more(100)
    fleet.await_caught_up()
    figures = figures_of(fleet, load, reads, [took for took in starts if took], restarted)
    faults = [*faults_meanwhile(fleet.history), *share_the_rest(fleet), *faults_afterwards(fleet)]
    if load.failed():
        faults.append(Fault("failed", "reads", f"{load.failed()} failed: {load.notes[:3]}"))
    if strange := broken_without_death(fleet.history, reads):
        what = f"{len(strange)} broke off while no replica died, the first: {strange[0]}"
        faults.append(Fault("failed", "reads", what))
    honored, refused = fleet.history.honored()
    # In the short form too little happens beside what dies.
    if kit.long and honored < HONORED * (honored + refused):
        faults.append(Fault("tokens", "reads with a token", f"{refused} were not honored"))
    check(not faults, f"{'; '.join(map(str, faults))}; {figures}")
    return figures


def broken_without_death(history, reads):
    """Reads that broke off although no replica was killed, whatever came of the second try."""
    deaths = merge(history.events[REPLICA_DIES], 0.0)
    return [read for read in reads.broken if not overlaps(deaths, read.begun, read.ended)]


def figures_of(fleet, load, reads, starts, restarted):
    """What was measured, in one line."""
    history = fleet.history
    honored, refused = history.honored()
    calm, stormy = history.delays()
    kinds = (*GOALS, ROLLING)
    each = lambda measure: ", ".join(f"{kind} {measure(kind):.2f} s" for kind in kinds)
    goals = ", ".join(f"{kind} {goal:g} s" for kind, goal in GOALS.items())
    behind = ", ".join(f"{kind} {history.honored(kind)[1]}" for kind in kinds)
    return "; ".join([
        f"{len(history.writes)} actions acknowledged",
        f"{len(history.refusals)} writes refused, {history.refused_without_majority(SLACK)} of them "
        "without a majority, the others by a replica that was away",
        f"worst write: {each(history.worst_write)}, longest silence {history.longest_silence():.2f} s",
        f"longest without what another replica acknowledged: {each(history.worst_gap)} (goals: {goals})",
        f"{load.total} reads, {len(reads.broken)} asked twice, {load.failed()} failed, p99 {load.p(0.99):.0f} ms, "
        f"{fleet.envoy.retries()} retries",
        f"tokens of hides that other replicas honored: {honored} of {honored + refused}; not honored: "
        f"{behind}",
        f"from an acknowledgment to an answer of another replica at {RATE} actions/s "
        f"{quantiles(calm)}, while things die {quantiles(stormy)}",
        f"replicas ready {min(starts):.1f} to {max(starts):.1f} s after their start",
        f"all replicas and nodes restarted in order in {restarted:.0f} s",
    ])


def quantiles(seconds):
    return f"p50 {1e3 * quantile(seconds, 0.5):.1f} p99 {1e3 * quantile(seconds, 0.99):.1f} ms"


SCENARIOS = [fleet]
