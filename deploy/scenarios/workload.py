"""Those who call the replicas of a fleet, and write down what they were told."""

import contextlib
import itertools
import os
import queue
import random
import sys
import threading
import time
from datetime import UTC, datetime
from typing import NamedTuple

import grpc

from harness import (
    ACKNOWLEDGED, CHANNEL, SERVICE, Callers, actions_api, actions_services, api, check, services,
)
from history import BEHIND, OK, Read, Refusal, Sight, Write

REPLICAS = ("a", "b", "c")
ENVOY = "envoy"
USERS = range(300)
# Actions a second of all writers together, and of one call.
RATE, ACTIONS_PER_CALL = 1000, 20
WRITERS = 4
# One in so many calls begins with a hide, whose token is then used on the other replicas.
HIDE_ONE_IN = 4
HIDE_READERS = 2
# A replica that is back must be found at once.
QUICK_CHANNEL = [
    *CHANNEL, ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class Caller:
    """Connections to all replicas and to Envoy, for one thread."""

    def __init__(self, fleet, stack):
        self._channels = {
            name: stack.enter_context(grpc.insecure_channel(address, options=QUICK_CHANNEL))
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


class Newest:
    """The last acknowledgment of each replica: (when, its user, its token)."""

    def __init__(self):
        self._by_replica, self._changed = {}, threading.Condition()

    def put(self, replica, *acknowledgment):
        with self._changed:
            self._by_replica[replica] = acknowledgment
            self._changed.notify_all()

    def take(self, without, timeout=0.1):
        """The next one of another replica, which nobody else gets; none if there is none so soon."""
        begun = time.monotonic()

        def later():
            told = self._by_replica.items()
            return next((name for name, (at, *_) in told if name != without and at > begun), None)

        with self._changed:
            name = self._changed.wait_for(later, timeout)
            return name and self._by_replica.pop(name)


class Workload(Callers):
    """Threads that write and read at a steady rate until the block ends."""

    def __init__(self, fleet):
        jobs = [(self._write, number) for number in range(WRITERS)]
        jobs += [(self._read_hides, number) for number in range(HIDE_READERS)]
        jobs += [(self._watch, number) for number in range(len(REPLICAS))]
        super().__init__([(self._run, *job) for job in jobs])
        # What is measured takes less than the 5 ms for which threads of Python wait for each other.
        sys.setswitchinterval(0.0005)
        self.fleet, self._newest = fleet, Newest()
        # (write, its token, where it was acknowledged)
        self._hides = queue.Queue()
        with contextlib.ExitStack() as stack:
            caller = Caller(fleet, stack)
            shown = {u: caller.recommend("a", user_id=u, limit=100, medoids=20) for u in USERS}
        self._shown = {user: [c.pin_id for c in told.candidates] for user, told in shown.items()}
        self._pins = sorted(set(itertools.chain.from_iterable(self._shown.values())))

    def _run(self, job, number):
        with contextlib.ExitStack() as stack:
            job(Caller(self.fleet, stack), number)

    def _write(self, caller, number):
        """Actions by one replica, or by Envoy; by the next one when that refuses."""
        dice, places = random.Random(number), [*REPLICAS, ENVOY]
        places = places[number:] + places[:number]
        pause, due = WRITERS * ACTIONS_PER_CALL / RATE, time.monotonic()
        for call in itertools.count():
            users = [dice.choice(USERS) for _ in range(ACTIONS_PER_CALL)]
            actions = [action(user, dice.choice(self._pins), "save") for user in users]
            if call % HIDE_ONE_IN == 0:
                actions[0] = action(users[0], dice.choice(self._shown[users[0]]), "hide")
            self._record(caller, places, actions)
            # After a stall the lost calls are not made up for.
            due = max(due + pause, time.monotonic() - pause)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return

    def _record(self, caller, places, actions):
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
                    return
                continue
            ended = time.monotonic()
            if place != ENVOY:
                self._newest.put(place, ended, actions[0].user_id, told.freshness_token)
            check(set(told.results) <= set(ACKNOWLEDGED), f"statuses of actions: {set(told.results)}")
            writes = [
                Write(a.action_id, a.user_id, a.pin_id, a.action, place, begun, ended) for a in actions
            ]
            history.acknowledge(writes)
            if writes[0].name == "hide":
                self._hides.put((writes[0], told.freshness_token, place))
            return

    def _read_hides(self, caller, _):
        """With the token of a hide, each replica either knows it or says that it does not."""
        while not (self._stop.is_set() and self._hides.empty()):
            with contextlib.suppress(queue.Empty):
                write, token, place = self._hides.get(timeout=0.1)
                for name in REPLICAS:
                    if name != place:
                        self._read_with(caller, name, write, token)

    def _read_with(self, caller, name, write, token):
        request = {"user_id": write.user, "limit": 1000, "medoids": 20, "freshness_token": token}
        begun, code, pins = time.monotonic(), OK, frozenset()
        try:
            answer = caller.recommend(name, **request)
            # No more than can be hidden, or ten minutes of answers take a gigabyte.
            pins = frozenset(self._shown[write.user]).intersection(c.pin_id for c in answer.candidates)
        except grpc.RpcError as error:
            code = error.code().name
        self.fleet.history.read(Read(write.id, write.user, name, code, begun, time.monotonic(), pins))

    def _watch(self, caller, number):
        """How long a replica does not have what another one has just acknowledged."""
        name = REPLICAS[number]
        while not self._stop.wait(0.02):
            if told := self._newest.take(without=name):
                acknowledged, user, token = told
                while (code := self._knows(caller, name, user, token)) == BEHIND:
                    if self._stop.wait(0.005):
                        return
                # One that is away will be told of others.
                if code == OK:
                    self.fleet.history.see(Sight(name, acknowledged, time.monotonic()))

    @staticmethod
    def _knows(caller, name, user, token):
        try:
            caller.recommend(name, user_id=user, limit=1, medoids=1, freshness_token=token)
        except grpc.RpcError as error:
            return error.code().name
        return OK


def broke_off(error):
    """Whether a call may have ended with its connection, or its stream has been reset."""
    was_reset = error.code() is grpc.StatusCode.INTERNAL and "RST_STREAM" in (error.details() or "")
    return was_reset or error.code() is grpc.StatusCode.UNAVAILABLE


class BrokenRead(NamedTuple):
    """A read that broke off, and was asked once more."""

    code: str
    begun: float
    ended: float


class Reads:
    """For `Load`: recommendations by Envoy, for one user after the other. One that breaks off is
    asked once more within its deadline, as callers of a fleet do; all of these are in `broken`."""

    TIMEOUT = 2.0

    def __init__(self):
        self.broken = []

    def __call__(self, channel):
        users = itertools.cycle(random.Random(1).sample(USERS, len(USERS)))
        stub = services.RecommendationServiceStub(channel)

        def recommend():
            user, begun = next(users), time.monotonic()
            request = api.RecommendRequest(user_id=user, limit=50)
            metadata = [("x-pinnersage-user", str(user))]
            try:
                stub.Recommend(request, timeout=self.TIMEOUT, metadata=metadata)
            except grpc.RpcError as error:
                ended = time.monotonic()
                left = begun + self.TIMEOUT - ended
                if left <= 0 or not broke_off(error):
                    raise
                self.broken.append(BrokenRead(error.code().name, begun, ended))
                stub.Recommend(request, timeout=left, metadata=metadata)

        return recommend
