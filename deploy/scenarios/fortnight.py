"""A scenario of two weeks under a clock of its own: whatever happens, no action is lost."""

import collections
import contextlib
import hashlib
import itertools
import os
import random
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pyarrow as pa
import pyarrow.parquet as pq

from engine import Engine
from harness import (
    ACKNOWLEDGED, CHANNEL, Failed, Server, actions_api, actions_services, admin_api, admin_services, api,
    check, health_pb2, health_pb2_grpc, services, until,
)

LIBRARIES = [
    Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1") for machine in ("x86_64", "aarch64")
]
FIRST_DAY = datetime(2025, 6, 1, tzinfo=UTC)
DAYS = 14
# Days, from 0 on, on which something goes wrong.
KILLS = {2, 4, 6, 9, 12}
LAGGING_NIGHT, FULL_DISK, CLOCK_JUMP, ROLLBACK, ERASURES = 3, 5, 7, 8, 10
ERASED_USERS = 10
# Users whose interests are compared each night. At the end all are.
SAMPLED_USERS = 100
# Versions of profiles that a night leaves.
KEPT_VERSIONS = 3
ACTIONS_PER_CALL = 200
Action = collections.namedtuple("Action", "id user pin time name")


class Clock:
    """The time of day that the programs under test see. It stands still until it is set."""

    def __init__(self, kit, stack):
        library = next((path for path in LIBRARIES if path.exists()), None)
        check(library, "libfaketime is not installed (Debian: faketime)")
        self._file = kit.directory / "time"
        self.set(FIRST_DAY)
        variables = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "TZ": "UTC",
        }
        os.environ.update(variables)
        stack.callback(lambda: [os.environ.pop(name) for name in variables])

    def set(self, now):
        self.now = now
        # Replaced at once, since a server may read it at any moment.
        side = self._file.with_suffix(".side")
        side.write_text(f"{now:%Y-%m-%d %H:%M:%S}\n")
        side.rename(self._file)


class Disk:
    """A small file system, which can be filled."""

    def __init__(self, kit, stack):
        self.path = kit.directory / "disk"
        self.path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", self.path]
        check(subprocess.run(mount, check=False).returncode == 0, "the scenario may not mount a file system")
        stack.callback(lambda: subprocess.run(["umount", "-l", self.path], check=True))
        self._ballast = self.path / "ballast"

    def fill(self):
        with contextlib.suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1 << 16))

    def empty(self):
        self._ballast.unlink()


def wide_id(user):
    """An id of which each byte matters, so that it can be searched for in files."""
    return int.from_bytes(hashlib.sha256(str(user).encode()).digest()[:8]) >> 1


def write(path, actions):
    types = [pa.binary(16), pa.uint64(), pa.uint64(), pa.timestamp("us", "UTC"), pa.string()]
    columns = zip(*actions, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    pq.write_table(pa.table(arrays, ["action_id", "user_id", "pin_id", "time", "action"]), path)


class World:
    """What users do day by day, and which of it was acknowledged."""

    def __init__(self, kit, users):
        self._dice = random.Random(14)
        directory = kit.directory / "world"
        end = f"{FIRST_DAY + timedelta(days=DAYS):%Y-%m-%d}"
        size = {"pins": 2000, "users": users, "topics": 60, "dimension": 16, "days": DAYS, "until": end}
        size |= {"median-actions": 2 * DAYS, "min-actions": DAYS}
        options = [str(part) for name, value in size.items() for part in (f"--{name}", value)]
        kit.pinnersage("simulate", "--out", directory, *options)
        self.pins = directory / "pins.parquet"
        self.acknowledged = {}
        self._days = collections.defaultdict(list)
        for row in pq.read_table(directory / "actions.parquet").to_pylist():
            save = Action(self._dice.randbytes(16), wide_id(row["user_id"]), row["pin_id"], row["time"], "save")
            day = self._days[(row["time"] - FIRST_DAY).days]
            day.append(save)
            if self._dice.random() < 0.02:
                day.append(save._replace(id=self._dice.randbytes(16), name="hide"))
        self.users = sorted({action.user for day in self._days.values() for action in day})
        self.sample = self._dice.sample(self.users, min(SAMPLED_USERS, len(self.users)))
        self.erased = set(self.sample[:ERASED_USERS])

    def calls(self, day):
        """The actions of a day, in the order in which they reach the server, call by call."""
        actions = [a for a in self._days[day] if day < ERASURES or a.user not in self.erased]
        self._dice.shuffle(actions)
        return [actions[at : at + ACTIONS_PER_CALL] for at in range(0, len(actions), ACTIONS_PER_CALL)]

    def acknowledge(self, actions):
        self.acknowledged.update((action.id, action) for action in actions)

    def forget_erased(self):
        self.acknowledged = {i: a for i, a in self.acknowledged.items() if a.user not in self.erased}

    def saves(self):
        """The number of acknowledged saves by user."""
        return collections.Counter(a.user for a in self.acknowledged.values() if a.name == "save")

    def hidden(self):
        """The pins that each user turned against."""
        hidden = collections.defaultdict(set)
        for action in self.acknowledged.values():
            if action.name == "hide":
                hidden[action.user].add(action.pin)
        return hidden

    def write(self, path):
        """All acknowledged actions in one file."""
        write(path, self.acknowledged.values())


class Replica:
    """A server, and calls of it."""

    def __init__(self, kit, stack, catalog, profiles, **options):
        self._start = lambda **more: stack.enter_context(
            Server(kit, catalog, profiles, SERVE__WATCH="1s", **options, **more)
        )
        self.server = self._start()
        self.channel = stack.enter_context(grpc.insecure_channel(self.server.address, options=CHANNEL))
        self.actions = actions_services.ActionServiceStub(self.channel)
        self._recommendations = services.RecommendationServiceStub(self.channel)
        self._admin = admin_services.AdminServiceStub(self.channel)

    def restart(self, number=signal.SIGTERM, meanwhile=lambda: None):
        self.server.signal(number)
        self.server.wait()
        meanwhile()
        self.server = self._start(port=self.server.port)
        until("a connection", lambda: self.status(quiet=True))

    def status(self, quiet=False):
        with contextlib.suppress(grpc.RpcError) if quiet else contextlib.nullcontext():
            return self._admin.GetStatus(admin_api.GetStatusRequest(), timeout=10)

    def takes_actions(self):
        request = health_pb2.HealthCheckRequest(service="pinnersage.v1.ActionService")
        answer = health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=5)
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def interests(self, user):
        """The interests of a user; none for an unknown user."""
        try:
            answer = self._recommendations.ExplainUser(api.ExplainUserRequest(user_id=user), timeout=10)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return []
            raise
        popular = api.MedoidOrigin.MEDOID_ORIGIN_POPULAR
        return [interest for interest in answer.interests if interest.origin != popular]

    def recommended(self, user):
        request = api.RecommendRequest(user_id=user, limit=1000, medoids=20, seed=1)
        answer = self._recommendations.Recommend(request, timeout=10)
        return {candidate.pin_id for candidate in answer.candidates}


class Site:
    """One machine: a server with a log and an archive, and the job of each night. Or two replicas
    that share a log and an archive."""

    def __init__(self, kit, stack, world, shared=False):
        self._kit, self._stack, self.world = kit, stack, world
        self.clock, self.disk = Clock(kit, stack), Disk(kit, stack)
        self.catalog, self.profiles = kit.directory / "catalog", kit.directory / "profiles"
        self.archive, self._data = kit.directory / "archive", self.disk.path / "data"
        kit.pinnersage("catalog", "build", "--pins", world.pins, "--out", self.catalog)
        # A server needs profiles to start from: those of a stranger, who is never seen again.
        stranger = kit.directory / "stranger.parquet"
        write(stranger, [Action(bytes(16), 1, 0, FIRST_DAY - timedelta(hours=1), "save")])
        self._build(stranger, self.profiles, FIRST_DAY)
        settings = {"ACTIONS__ARCHIVE": str(self.archive), "ACTIONS__ARCHIVE_EVERY": "1s"}
        self._places, data = [self.archive, self.profiles, self._data], [self._data]
        self.shared = shared
        if shared:
            engine = Engine(kit, stack)
            settings |= {"ACTIONS__LOG__KIND": "nats", "ACTIONS__LOG__URL": engine.url}
            data.append(kit.directory / "data-b")
            self._places += [data[1], engine.directory]
        replica = lambda path: Replica(kit, stack, self.catalog, self.profiles, data=path, **settings)
        self.replicas = [replica(path) for path in data]
        self.main = self.replicas[0]
        self._turns = itertools.cycle(self.replicas)

    def call(self, *arguments):
        """A command that calls the server."""
        self._kit.pinnersage(*arguments, "--server", f"http://{self.main.server.address}")

    def call_all(self, *arguments):
        """A command that calls each replica, for what they do not share."""
        for replica in self.replicas:
            self._kit.pinnersage(*arguments, "--server", f"http://{replica.server.address}")

    def _build(self, actions, profiles, as_of):
        paths = ["--actions", actions, "--catalog", self.catalog, "--out", profiles]
        self._kit.pinnersage("profiles", "build", *paths, "--as-of", f"{as_of:%Y-%m-%dT%H:%M:%SZ}")

    @staticmethod
    def request(actions):
        request = actions_api.RecordActionsRequest()
        for action in actions:
            message = request.actions.add(
                action_id=action.id, user_id=action.user, pin_id=action.pin, action=action.name
            )
            message.time.FromDatetime(action.time)
        return request

    def record(self, actions, kill=False):
        """Sends actions again and again until they are acknowledged."""
        request = self.request(actions)
        replica = next(self._turns)
        if kill:
            call = replica.actions.RecordActions.future(request, timeout=10)
            time.sleep(random.random() / 100)
            replica.restart(signal.SIGKILL)
            call.cancel()

        def send():
            with contextlib.suppress(grpc.RpcError):
                return next(self._turns).actions.RecordActions(request, timeout=10)

        answer, _ = until("an acknowledgment", send)
        odd = collections.Counter(status for status in answer.results if status not in ACKNOWLEDGED)
        check(not odd, f"actions were not accepted, by status: {dict(odd)}")
        self.world.acknowledge(actions)

    def archived(self, path):
        """Whether the archive has all acknowledged actions by now; it is read from `path`."""
        ids = set()
        for file in path.rglob("[!_.]*.parquet"):
            with contextlib.suppress(FileNotFoundError):
                ids.update(pq.read_table(file, columns=["action_id"])["action_id"].to_pylist())
        return ids >= set(self.world.acknowledged)

    def night(self, archive=None):
        """Builds profiles, and returns their version."""
        paths = ["--archive", archive or self.archive, "--catalog", self.catalog, "--out", self.profiles]
        self._kit.pinnersage("daily", *paths, "--keep", str(KEPT_VERSIONS))
        return (self.profiles / "CURRENT").read_text().strip()

    def await_version(self, version):
        served = lambda: all(r.status().serving.profile_version == version for r in self.replicas)
        until(f"profiles {version} served", served)

    def check_counts(self, when):
        """Each acknowledged save of a user is in exactly one interest, on each replica."""
        saves = self.world.saves()
        for number, replica in enumerate(self.replicas):
            for user in self.world.sample:
                size = lambda: sum(interest.size for interest in replica.interests(user))
                if self.shared:
                    # What another replica was told is on its way.
                    with contextlib.suppress(Failed):
                        until("all saves", lambda: size() == saves[user], 5)
                counted = f"{size()} of {saves[user]} saves of user {user} count on replica {number}"
                check(size() == saves[user], f"{when}: {counted}")

    def check_hidden(self, replica, when):
        hidden = self.world.hidden()
        for user in self.world.sample:
            shown = hidden[user] & replica.recommended(user)
            check(not shown, f"{when}: user {user} is recommended hidden pins {sorted(shown)}")

    def from_scratch(self):
        """A replica without a log, of profiles from all acknowledged actions in one go."""
        actions, profiles = self._kit.directory / "all.parquet", self._kit.directory / "from-scratch"
        self.world.write(actions)
        self._build(actions, profiles, self.clock.now)
        return Replica(self._kit, self._stack, self.catalog, profiles)

    def files_with(self, users):
        """Files in which the id of one of the users stands."""
        ids = [user.to_bytes(8, order) for user in users for order in ("little", "big")]
        ids += [str(user).encode() for user in users]
        found = []
        for file in (f for root in self._places for f in root.rglob("*")):
            # What nodes keep of their agreement NATS compacts by itself, at a time of its own.
            if "$SYS" in file.parts:
                continue
            # Whoever owns a file may remove it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if file.suffix == ".parquet":
                    named = users & set(pq.read_table(file, columns=["user_id"])["user_id"].to_pylist())
                else:
                    content = file.read_bytes() if file.is_file() else b""
                    named = any(id in content for id in ids)
                if named:
                    found.append(str(file))
        return found


def fortnight(kit, stack):
    """Two weeks of actions, kills, a full disk, a wrong clock and a rollback: each action counts once."""
    return live_for_two_weeks(kit, stack)


def fortnight_fleet(kit, stack):
    """The fortnight of two replicas that share a log in NATS: all the same, but for the full disk."""
    return live_for_two_weeks(kit, stack, shared=True)


def live_for_two_weeks(kit, stack, **options):
    world = World(kit, 2000 if kit.long else 300)
    site = Site(kit, stack, world, **options)
    for day in range(DAYS):
        live_through(site, day)
    return compare_with_scratch(site)


def live_through(site, day):
    """One day of users and of what goes wrong, and the night after it."""
    midnight = FIRST_DAY + timedelta(days=day)
    # At the end of the day, so that no action of it is in the future.
    site.clock.set(midnight + timedelta(hours=23, minutes=59))
    calls, stale = site.world.calls(day), None
    for at, actions in enumerate(calls):
        if at == len(calls) // 2:
            stale = interrupt(site, day, actions)
        site.record(actions, kill=day in KILLS and at == len(calls) // 3)
    if day == ERASURES:
        for user in site.world.erased:
            # The days of this clock pass in a moment, as for a server that paused.
            site.call("actions", "erase", "--user", str(user), "--clock-is-right")
        site.world.forget_erased()
    site.check_counts(f"evening of day {day}")
    site.clock.set(midnight + timedelta(days=1, minutes=10))
    until("all actions in the archive", lambda: site.archived(site.archive))
    version = site.night(stale)
    if day == ROLLBACK:
        stay_rolled_back(site, version)
    site.await_version(version)
    site.check_counts(f"night after day {day}")


def interrupt(site, day, actions):
    """What goes wrong at noon. Returns the archive that the night finds, if it is an old one."""
    if day == LAGGING_NIGHT:
        stale = site.archive.with_name("stale")
        shutil.copytree(site.archive, stale, ignore=shutil.ignore_patterns("[_.]*"))
        return stale
    # Replicas that share a log keep no more than a checkpoint on their disks.
    if day == FULL_DISK and not site.shared:
        fill_disk(site, actions)
    if day == CLOCK_JUMP:
        right = site.clock.now
        site.main.restart(meanwhile=lambda: site.clock.set(right + timedelta(days=10)))
        site.main.restart(meanwhile=lambda: site.clock.set(right))
        site.check_counts("after a start with a wrong clock")
    if day == ROLLBACK:
        before = site.main.status().previous.profile_version
        site.call_all("rollback")
        site.await_version(before)
        site.check_counts("after a rollback")
    return None


def fill_disk(site, actions):
    """Actions are refused while the disk is full, and accepted again once it is not."""
    site.disk.fill()

    def refused():
        try:
            site.main.actions.RecordActions(site.request(actions), timeout=10)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        site.world.acknowledge(actions)
        return False

    until("a refusal", refused)
    until("health that says so", lambda: not site.main.takes_actions())
    site.check_counts("while the disk is full")
    site.disk.empty()
    site.record(actions)
    until("health that says so", site.main.takes_actions)


def stay_rolled_back(site, published):
    """A rollback outlives new profiles and a restart, until it is undone."""
    for replica in site.replicas:
        served = replica.status().serving.profile_version
        replica.restart()
        stayed = replica.status().serving.profile_version == served != published
        check(stayed, "the rollback did not stay")
    site.call_all("load", "--follow")


def compare_with_scratch(site):
    """The interests of all users, and what they hide, against one computation over everything."""
    scratch = site.from_scratch()
    world = site.world
    interests = 0
    for user in world.users:
        theirs = scratch.interests(user)
        for replica in site.replicas:
            ours = replica.interests(user)
            check(ours == theirs, f"user {user} has interests\n{ours}\nand from scratch\n{theirs}")
        interests += len(theirs)
    for replica in site.replicas:
        site.check_hidden(replica, "at the end")
    site.check_hidden(scratch, "on a new replica")
    for replica in site.replicas:
        known = [user for user in world.erased if replica.interests(user)]
        check(not known, f"{len(known)} erased users have interests")
    patience = 60 if site.shared else 20
    until("the erased users out of all files", lambda: not site.files_with(world.erased), patience, every=0.5)
    counts = f"{len(world.acknowledged)} actions of {len(world.users)} users"
    return f"{counts} in {interests} interests as from scratch"


SCENARIOS = [fortnight, fortnight_fleet]
