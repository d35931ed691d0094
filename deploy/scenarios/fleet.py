"""A scenario of three replicas that share a log, while nodes of its engine and replicas die."""

import contextlib
import itertools
import os
import queue
import random
import shutil
import signal
import threading
import time
from datetime import UTC, datetime

import grpc
import pyarrow.parquet as pq

from engine import Engine
from harness import (
    SERVICE, Envoy, Failed, Load, Server, actions_api, actions_services, answers, api, check,
    quantile, services, until,
)
from history import History, Read, Refusal, Write, differing, doubled

REPLICAS = ("a", "b", "c")
ENVOY = "envoy"
USERS = range(300)
# Actions a second of all writers together, and of one call.
RATE, ACTIONS_PER_CALL = 1000, 20
WRITERS = 4
# One in so many calls begins with a hide, whose token is then used on the other replicas.
HIDE_ONE_IN = 4
# How long after an outage a refusal is still put down to it: clients must connect again.
SLACK = 2.0
ARCHIVE_EVERY = 1.0
ACKNOWLEDGED = (
    actions_api.ActionStatus.ACTION_STATUS_ACCEPTED, actions_api.ActionStatus.ACTION_STATUS_DUPLICATE,
)
# A replica that is back must be found at once, and no call is made again by the client.
CHANNEL = [
    ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Fleet:
    """The engine, the replicas and Envoy before them; and what was seen of them."""

    def __init__(self, kit, stack):
        self.kit, self._stack, self.history = kit, stack, History()
        self.archive = kit.directory / "archive"
        self.engine = Engine(kit, stack)
        self._settings = {
            "ACTIONS__LOG__KIND": "nats",
            "ACTIONS__LOG__URL": self.engine.url,
            "ACTIONS__ARCHIVE": str(self.archive),
            "ACTIONS__ARCHIVE_EVERY": f"{ARCHIVE_EVERY:g}s",
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
        return self._stack.enter_context(Server(self.kit, data=self.data(name), **self._settings, **more))

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

    def call(self, name, *arguments):
        """A command that calls a replica."""
        server = f"http://{self.servers[name].address}"
        self.kit.pinnersage(*map(str, arguments), "--server", server)

    def writable(self):
        """For each replica whether it says that it records."""
        return [server.metrics()["pinnersage_log_writable"] == 1 for server in self.servers.values()]

    def caught_up(self):
        """Whether each replica has read all that it knows the engine has."""
        told = [server.metrics() for server in self.servers.values()]
        log = "pinnersage_action_log_"
        return all(m.get(f"{log}ready") == 1 and m.get(f"{log}lag_messages") == 0 for m in told)


class Caller:
    """Connections to all replicas and to Envoy, for one thread."""

    def __init__(self, fleet, stack):
        self._channels = {
            name: stack.enter_context(grpc.insecure_channel(address, options=CHANNEL))
            for name, address in fleet.addresses.items()
        }

    def record(self, name, actions, timeout=10):
        stub = actions_services.ActionServiceStub(self._channels[name])
        return stub.RecordActions(actions_api.RecordActionsRequest(actions=actions), timeout=timeout)

    def recommend(self, name, timeout=2, **request):
        stub = services.RecommendationServiceStub(self._channels[name])
        return stub.Recommend(api.RecommendRequest(**request), timeout=timeout)

    def bytes_of(self, name, method, request):
        """An answer as it comes, with nothing decoded; or the code of the failure."""
        call = self._channels[name].unary_unary(f"/{SERVICE}/{method}")
        try:
            return call(request.SerializeToString(), timeout=5)
        except grpc.RpcError as error:
            return error.code().name


def action(user, pin, name):
    message = actions_api.Action(action_id=os.urandom(16), user_id=user, pin_id=pin, action=name)
    message.time.FromDatetime(datetime.now(UTC))
    return message


class Workload:
    """Threads that write and read at a steady rate until the block ends."""

    def __init__(self, fleet):
        self.fleet, self._stop = fleet, threading.Event()
        self.visible, self.notes = [], []
        # (writes of a call that begins with a hide, its token, where it was acknowledged)
        self._hides = queue.Queue()
        with contextlib.ExitStack() as stack:
            caller = Caller(fleet, stack)
            shown = {u: caller.recommend("a", user_id=u, limit=100, medoids=20) for u in USERS}
        self._shown = {user: [c.pin_id for c in told.candidates] for user, told in shown.items()}
        self._pins = sorted(set(itertools.chain.from_iterable(self._shown.values())))
        jobs = [(self._write, number) for number in range(WRITERS)]
        jobs += [(self._read_hides, 0), (self._probe, 0)]
        self._threads = [threading.Thread(target=self._run, args=job) for job in jobs]

    def _run(self, job, number):
        try:
            with contextlib.ExitStack() as stack:
                job(Caller(self.fleet, stack), random.Random(number), number)
        except Exception as error:  # A thread that ends by itself must fail the scenario.
            self.notes.append(f"{job.__name__}: {error!r}")

    def _write(self, caller, dice, number):
        """Actions by one replica, or by Envoy; by the next one when that refuses."""
        places = [*REPLICAS, ENVOY]
        places = places[number:] + places[:number]
        pause, due = WRITERS * ACTIONS_PER_CALL / RATE, time.monotonic()
        for call in itertools.count():
            users = [dice.choice(USERS) for _ in range(ACTIONS_PER_CALL)]
            actions = [action(user, dice.choice(self._pins), "save") for user in users]
            if call % HIDE_ONE_IN == 0:
                actions[0] = action(users[0], dice.choice(self._shown[users[0]]), "hide")
            self.record(caller, places, actions)
            # After a stall the lost calls are not made up for.
            due = max(due + pause, time.monotonic() - pause)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return

    def record(self, caller, places, actions):
        """Sends actions again and again, to one place after the other, until they are acknowledged."""
        history = self.fleet.history
        history.send(a.action_id for a in actions)
        for place in itertools.cycle(places):
            begun = time.monotonic()
            try:
                told = caller.record(place, actions)
            except grpc.RpcError as error:
                history.refuse(Refusal(place, error.code().name, begun, time.monotonic()))
                if self._stop.wait(0.05):
                    return None
                continue
            ended = time.monotonic()
            check(set(told.results) <= set(ACKNOWLEDGED), f"statuses of actions: {set(told.results)}")
            writes = [
                Write(a.action_id, a.user_id, a.pin_id, a.action, place, begun, ended) for a in actions
            ]
            history.acknowledge(writes)
            if writes[0].name == "hide":
                self._hides.put((writes[0], told.freshness_token, place))
            return told.freshness_token

    def _read_hides(self, caller, *_):
        """With the token of a hide, each replica either knows it or says that it does not."""
        while not (self._stop.is_set() and self._hides.empty()):
            with contextlib.suppress(queue.Empty):
                write, token, place = self._hides.get(timeout=0.1)
                for name in REPLICAS:
                    if name != place:
                        self._read_with(caller, name, write, token)

    def _read_with(self, caller, name, write, token):
        request = {"user_id": write.user, "limit": 1000, "medoids": 20, "freshness_token": token}
        try:
            answer = caller.recommend(name, **request)
            pins = frozenset(candidate.pin_id for candidate in answer.candidates)
        except grpc.RpcError as error:
            # A replica that is away has promised nothing.
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                return
            pins = None
        self.fleet.history.read(Read(write.id, name, time.monotonic(), pins))

    def _probe(self, caller, dice, *_):
        """How long after the acknowledgment by one replica another one has answered with it."""
        while not self._stop.wait(0.1):
            here, there = dice.sample(REPLICAS, 2)
            user = dice.choice(USERS)
            token = self.record(caller, [here, *REPLICAS], [action(user, dice.choice(self._pins), "save")])
            acknowledged = time.monotonic()
            with contextlib.suppress(grpc.RpcError):
                if token:
                    caller.recommend(there, user_id=user, limit=1, medoids=1, freshness_token=token)
                    self.visible.append((acknowledged, time.monotonic() - acknowledged))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        check(kind or not self.notes, f"a caller ended: {self.notes}")


def reads(fleet):
    """For `Load`: recommendations by Envoy, for one user after the other."""
    users = itertools.cycle(random.Random(1).sample(USERS, len(USERS)))

    def call(channel):
        stub = services.RecommendationServiceStub(channel)

        def recommend():
            user = next(users)
            request = api.RecommendRequest(user_id=user, limit=50)
            stub.Recommend(request, timeout=2, metadata=[("x-pinnersage-user", str(user))])

        return recommend

    return call


def kill_leader(fleet, seconds):
    """The node that leads a stream of actions."""
    name = fleet.engine.leader("pinnersage-0")
    fleet.engine.kill(name)
    time.sleep(seconds)
    fleet.engine.start(name)


def kill_follower(fleet, seconds):
    """A node that does not lead the stream of pins and erasures."""
    name = fleet.engine.follower("pinnersage-control")
    fleet.engine.kill(name)
    time.sleep(seconds)
    fleet.engine.start(name)


def kill_replica(fleet, _):
    """A replica; its checkpoint stays."""
    return fleet.restart("b")


def kill_replica_and_disk(fleet, _):
    """A replica with its checkpoint."""
    return fleet.restart("c", disk_too=True)


def freeze_leader(fleet, seconds):
    """The node that leads a stream stands still, with all its connections open."""
    name = fleet.engine.leader("pinnersage-1")
    fleet.engine.freeze(name)
    time.sleep(seconds)
    fleet.engine.thaw(name)


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


EVENTS = [kill_leader, kill_follower, kill_replica, freeze_leader, kill_replica_and_disk]


def fleet(kit, stack):
    """Three replicas share a log, and its nodes and replicas die in turn: each action counts once."""
    # (rounds, seconds between events, of a death, of standing still)
    rounds, every, dead, still = (3, 20, 5, 15) if kit.long else (1, 3, 1, 3)
    fleet = Fleet(kit, stack)
    starts = []
    with Workload(fleet) as work, Load(fleet.envoy.address, callers=2, pause=0.02, call=reads(fleet)) as load:
        time.sleep(2 * every)
        calm = time.monotonic()
        for event in EVENTS * rounds:
            fleet.engine.spread()
            begun = time.monotonic()
            starts.append(event(fleet, still if event is freeze_leader else dead))
            fleet.engine.await_settled()
            time.sleep(max(1.0, every - (time.monotonic() - begun)))
        lose_majority(fleet, still)
        load.more(100)
    # Replicas ask twice a second how far the engine is.
    time.sleep(2)
    until("all replicas caught up", fleet.caught_up, 60)
    figures = figures_of(fleet, work, load, calm, [took for took in starts if took])
    faults = [*faults_of(fleet), *share_the_rest(fleet), *found_after(fleet)]
    if load.failed():
        faults.append(f"{load.failed()} reads failed: {load.notes[:3]}")
    check(not faults, f"{'; '.join(faults)}; {figures}")
    return figures


def figures_of(fleet, work, load, calm, starts):
    history = fleet.history
    # While nothing dies, and then.
    quiet = [took for at, took in work.visible if at < calm]
    stormy = [took for at, took in work.visible if at >= calm]
    honored, refused = history.honored()
    return (
        f"{len(history.writes)} actions acknowledged, {len(history.refusals)} calls refused; with a "
        f"majority worst write {history.worst_write():.2f} s, longest silence "
        f"{history.longest_silence():.2f} s; {load.total} reads, {load.failed()} failed, "
        f"p99 {load.p(0.99):.0f} ms, {fleet.envoy.retries()} retries; {honored} tokens of hides honored "
        f"elsewhere, {refused} not; from an acknowledgment to an answer of another replica at {RATE} "
        f"actions/s {quantiles(quiet)}, while things die {quantiles(stormy)}; "
        f"replicas ready {min(starts):.1f} to {max(starts):.1f} s after their start"
    )


def quantiles(seconds):
    return f"p50 {1e3 * quantile(seconds, 0.5):.1f} p99 {1e3 * quantile(seconds, 0.99):.1f} ms"


def faults_of(fleet):
    """What is wrong with what callers were told meanwhile."""
    history = fleet.history
    if shown := history.shown_hidden():
        first = f"{shown[0].replica}, {shown[0].write.hex()}"
        yield f"{len(shown)} answers have a pin that their token hides, the first: {first}"
    if unexcused := history.unexcused(SLACK):
        yield f"{len(unexcused)} writes were refused without need, the first: {unexcused[0]}"
    if not history.honored()[0]:
        yield "no token was honored by another replica"


def share_the_rest(fleet):
    """What is wrong with what replicas share beside actions."""
    try:
        delete_and_erase(fleet)
    except Failed as error:
        yield str(error)


def delete_and_erase(fleet):
    """A pin that is deleted by one replica is gone from all, and so is a user whom one has erased."""
    stranger = max(USERS) + 1
    with contextlib.ExitStack() as stack:
        caller = Caller(fleet, stack)
        pins = [c.pin_id for c in caller.recommend("a", user_id=2, limit=20, seed=1).candidates]
        fleet.call("a", "pins", "delete", pins[0])

        def deleted():
            told = [caller.recommend(n, user_id=2, limit=1000, medoids=20, seed=1) for n in REPLICAS]
            return all(pins[0] not in {c.pin_id for c in answer.candidates} for answer in told)

        until("a deleted pin gone from all replicas", deleted)
        # The history does not know these: whoever has them afterwards has not erased them.
        caller.record("c", [action(stranger, pin, "save") for pin in pins[1:]])
        until("actions of a stranger on all replicas", lambda: all(knows(caller, stranger)))
        fleet.call("b", "actions", "erase", "--user", stranger)
        until("an erased user gone from all replicas", lambda: not any(knows(caller, stranger)))


def knows(caller, user):
    """For each replica whether it has actions of a user without a profile."""
    unknown = api.FallbackReason.FALLBACK_REASON_UNKNOWN_USER
    told = [caller.recommend(name, user_id=user, limit=1) for name in REPLICAS]
    return [answer.fallback_reason != unknown for answer in told]


def found_after(fleet):
    """What is wrong with what is found afterwards, on each replica and in the archive."""
    history = fleet.history
    wanted = set(history.writes)

    def archived():
        return wanted <= set(archived_ids(fleet.archive))

    with contextlib.suppress(Failed):
        # The lease of a replica that was killed ends first.
        until("all acknowledged actions in the archive", archived, 90, every=0.5)
        # Whoever writes them twice does so within a period.
        time.sleep(3 * ARCHIVE_EVERY)
    places = {"the archive": archived_ids(fleet.archive)}
    for name in REPLICAS:
        places[f"replica {name}"] = exported_ids(fleet, name)
    for place, ids in places.items():
        if missing := history.missing(ids):
            yield f"{len(missing)} acknowledged actions are missing in {place}, the first: {missing[0]}"
        if twice := doubled(ids):
            yield f"{len(twice)} actions are in {place} more than once, such as {next(iter(twice)).hex()}"
        if strange := history.strange(ids):
            yield f"{len(strange)} actions of {place} were never sent, or erased, such as {strange[0].hex()}"
    if odd := differing(answers_of(fleet)):
        yield f"replicas differ in {len(odd)} answers: {odd[:5]}"


def archived_ids(directory):
    ids = []
    for file in directory.rglob("[!_.]*.parquet"):
        ids += pq.read_table(file, columns=["action_id"])["action_id"].to_pylist()
    return ids


def exported_ids(fleet, name):
    """The actions that a replica says it keeps."""
    file = fleet.kit.directory / f"exported-{name}.parquet"
    fleet.call(name, "actions", "export", "--out", file)
    return pq.read_table(file, columns=["action_id"])["action_id"].to_pylist()


def answers_of(fleet):
    """What each replica answers for each user and method, to the byte."""
    told = {name: {} for name in REPLICAS}
    with contextlib.ExitStack() as stack:
        caller = Caller(fleet, stack)
        for name, user in itertools.product(REPLICAS, USERS):
            recommend = api.RecommendRequest(user_id=user, limit=400, medoids=5, seed=1)
            told[name][user, "Recommend"] = caller.bytes_of(name, "Recommend", recommend)
            explain = api.ExplainUserRequest(user_id=user)
            told[name][user, "ExplainUser"] = caller.bytes_of(name, "ExplainUser", explain)
    return told


SCENARIOS = [fleet]
