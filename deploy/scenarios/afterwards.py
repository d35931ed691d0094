"""What is wrong with a fleet, as its callers see it meanwhile and find it afterwards."""

import contextlib
import itertools
import time
from typing import NamedTuple

import pyarrow.parquet as pq

from harness import Failed, api, until
from history import differing, doubled
from workload import REPLICAS, USERS, Caller, action

# How long after an outage a failure is still put down to it: clients must connect again.
SLACK = 2.0
# Period of the archive, in seconds.
ARCHIVE_EVERY = 1.0


class Fault(NamedTuple):
    kind: str
    place: str
    what: str

    def __str__(self):
        return f"{self.place}: {self.what}"


def faults_meanwhile(history):
    """What is wrong with what callers were told."""
    if shown := history.shown_hidden():
        first = f"{shown[0].replica}, user {shown[0].user} at {shown[0].begun:.3f}"
        yield Fault("hidden", "answers", f"{len(shown)} have a pin that is hidden, the first: {first}")
    if unexcused := history.unexcused(SLACK):
        what = f"{len(unexcused)} were refused without need, the first: {unexcused[0]}"
        yield Fault("refused", "writes", what)
    if failed := history.failed_reads(SLACK):
        first = f"{failed[0].replica}, {failed[0].code} at {failed[0].begun:.3f}"
        yield Fault("failed", "reads with a token", f"{len(failed)} failed, the first: {first}")
    if not history.honored()[0]:
        yield Fault("tokens", "reads with a token", "none was honored by another replica")


def share_the_rest(fleet):
    """What is wrong with what replicas share beside actions."""
    try:
        delete_and_erase(fleet)
    except Failed as error:
        yield Fault("shared", "pins and erasures", str(error))


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


def faults_afterwards(fleet):
    """What is wrong with what is found on each replica and in the archive, once all replicas have
    read all."""
    history = fleet.history
    places = {"the archive": await_archive(fleet)}
    places |= {f"replica {name}": exported_ids(fleet, name) for name in REPLICAS}
    for place, ids in places.items():
        if missing := history.missing(ids):
            first = f"{missing[0].id.hex()} of user {missing[0].user}, which {missing[0].replica} took"
            yield Fault("missing", place, f"{len(missing)} acknowledged actions are missing: {first}")
        if twice := doubled(ids):
            yield Fault("doubled", place, f"{len(twice)} actions doubled, such as {next(iter(twice)).hex()}")
        if strange := history.strange(ids):
            what = f"{len(strange)} actions were never sent, or erased, such as {strange[0].hex()}"
            yield Fault("strange", place, what)
    answers = answers_of(fleet)
    if odd := differing(answers):
        yield Fault("differing", "the replicas", f"{len(odd)} answers differ: {odd[:5]}")
    for name, told in answers.items():
        yield from faults_of_answers(f"replica {name}", told, history.hides())


def faults_of_answers(place, told, hides):
    """What is wrong with the answers of one replica, whatever the others say."""
    told = {user: answer for (user, method), answer in told.items() if method == "Recommend"}
    if failed := {user: code for user, code in told.items() if isinstance(code, str)}:
        yield Fault("failed", place, f"{len(failed)} answers failed: {list(failed.items())[:5]}")
    hidden = {user: {write.pin for write in hides[user]} for user in told.keys() - failed.keys()}
    if shown := sorted(user for user, pins in hidden.items() if pins & pins_of(told[user])):
        yield Fault("hidden", place, f"pins are shown that users have hidden: {shown[:5]}")


def await_archive(fleet):
    """The ids in the archive, once all that was acknowledged is there, or has had the time."""
    wanted = set(fleet.history.writes)
    with contextlib.suppress(Failed):
        # The lease of a replica that was killed ends first.
        until("the archive", lambda: wanted <= set(archived_ids(fleet.archive)), 90, every=0.5)
        # Whoever writes them twice does so within a period.
        time.sleep(3 * ARCHIVE_EVERY)
    return archived_ids(fleet.archive)


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


def pins_of(answer):
    return {candidate.pin_id for candidate in api.RecommendResponse.FromString(answer).candidates}
