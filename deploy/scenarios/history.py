"""What callers of a fleet were told, and whether what they find afterwards agrees with it.

Nothing here calls anybody: callers write down what happened, and at the end the faults are
computed from that alone. `history_test.py` plants such faults.
"""

import bisect
import collections
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Write:
    """An action that was acknowledged. Times are of one monotonic clock, in seconds."""

    id: bytes
    user: int
    pin: int
    name: str
    replica: str
    begun: float
    acknowledged: float


@dataclass(frozen=True)
class Refusal:
    """A call that wanted to write, and was told that it may not have."""

    replica: str
    code: str
    begun: float
    ended: float


@dataclass(frozen=True)
class Read:
    """An answer to a call with the freshness token of a write. Without pins the token was refused."""

    write: bytes
    replica: str
    ended: float
    pins: frozenset | None


@dataclass
class History:
    """All that happened, as it was seen from outside. Threads may share it."""

    sent: set = field(default_factory=set)
    writes: dict = field(default_factory=dict)
    refusals: list = field(default_factory=list)
    reads: list = field(default_factory=list)
    # By what was away, such as a replica or "majority": from when to when.
    outages: dict = field(default_factory=lambda: collections.defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, ids):
        """Before the call: afterwards nobody may know whether it arrived."""
        with self._lock:
            self.sent.update(ids)

    def acknowledge(self, writes):
        with self._lock:
            for write in writes:
                self.writes.setdefault(write.id, write)

    def refuse(self, refusal):
        with self._lock:
            self.refusals.append(refusal)

    def read(self, read):
        with self._lock:
            self.reads.append(read)

    def gone(self, what, begun, ended):
        """Something was away for this time."""
        with self._lock:
            self.outages[what].append((begun, ended))

    def missing(self, found):
        """Acknowledged actions that are not among the ids found."""
        found = set(found)
        return [write for id, write in self.writes.items() if id not in found]

    def strange(self, found):
        """Ids that nobody has sent."""
        return sorted(set(found) - self.sent)

    def shown_hidden(self):
        """Answers that promise to know a hide, and have its pin all the same."""
        known = ((read, self.writes.get(read.write)) for read in self.reads if read.pins)
        return [read for read, write in known if write and write.name == "hide" and write.pin in read.pins]

    def unexcused(self, slack=0.0):
        """Refusals while the replica was there, and a majority of the engine. A call may begin so
        long after an outage as the fleet takes to notice that it is over."""
        away = {what: merge(spans, slack) for what, spans in self.outages.items()}
        return [
            refusal
            for refusal in self.refusals
            if not any(
                overlaps(away.get(what, []), refusal.begun, refusal.ended)
                for what in (refusal.replica, "majority")
            )
        ]

    def honored(self):
        """How many tokens replicas honored, and how many they refused."""
        honored = sum(read.pins is not None for read in self.reads)
        return honored, len(self.reads) - honored

    def worst_write(self):
        """Seconds that the slowest acknowledged call took while there was a majority."""
        away = merge(self.outages.get("majority", []), 0.0)
        took = [
            write.acknowledged - write.begun
            for write in self.writes.values()
            if not overlaps(away, write.begun, write.acknowledged)
        ]
        return max(took, default=0.0)

    def longest_silence(self):
        """The longest time in which nothing was acknowledged while there was a majority, in seconds."""
        away = merge(self.outages.get("majority", []), 0.0)
        times = sorted({write.acknowledged for write in self.writes.values()})
        pairs = [pair for pair in zip(times, times[1:]) if not overlaps(away, *pair)]
        return max((after - before for before, after in pairs), default=0.0)


def merge(spans, slack):
    """Spans of time, each longer by the slack at its end, as few that do not overlap, in order."""
    merged = []
    for begun, ended in sorted((begun, ended + slack) for begun, ended in spans):
        if merged and begun <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(ended, merged[-1][1]))
        else:
            merged.append((begun, ended))
    return merged


def overlaps(spans, begun, ended):
    """Whether a time has a part in common with one of the spans, which `merge` has put in order."""
    at = bisect.bisect_right(spans, (ended, float("inf")))
    return at > 0 and spans[at - 1][1] >= begun


def doubled(ids):
    """Ids that occur more than once, and how often."""
    return {id: count for id, count in collections.Counter(ids).items() if count > 1}


def differing(answers):
    """Questions that replicas answer differently. `answers` has for each replica its answers by
    question; a question that one of them has no answer to differs as well."""
    questions = set().union(*answers.values())
    return sorted(q for q in questions if len({told.get(q) for told in answers.values()}) > 1)
