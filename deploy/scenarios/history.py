"""What callers of a fleet were told, and whether what they find afterwards agrees with it.

Nothing here calls anybody: callers write down what happened, and at the end the faults are
computed from that alone. `history_test.py` plants such faults.
"""

import bisect
import collections
import itertools
import threading
from dataclasses import dataclass, field

# Codes of reads: of an answer, and of a replica that has not read the write of the token.
OK, BEHIND = "OK", "FAILED_PRECONDITION"


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
    """A call that was refused, or failed."""

    replica: str
    code: str
    begun: float
    ended: float


@dataclass(frozen=True)
class Read:
    """What came of a call with the freshness token of a write. Pins are those of an answer."""

    write: bytes
    user: int
    replica: str
    code: str
    begun: float
    ended: float
    pins: frozenset = frozenset()


@dataclass(frozen=True)
class Sight:
    """When a replica had what another one acknowledged."""

    replica: str
    acknowledged: float
    seen: float


def spans_by_name():
    return field(default_factory=lambda: collections.defaultdict(list))


@dataclass
class History:
    """All that happened, as it was seen from outside. Threads may share it."""

    sent: set = field(default_factory=set)
    writes: dict = field(default_factory=dict)
    refusals: list = field(default_factory=list)
    reads: list = field(default_factory=list)
    sights: list = field(default_factory=list)
    # By what was away, such as a replica or "majority": from when to when.
    outages: dict = spans_by_name()
    # By what was done to the fleet: from when until all was well again.
    events: dict = spans_by_name()
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

    def see(self, sight):
        with self._lock:
            self.sights.append(sight)

    def gone(self, what, begun, ended):
        """Something was away for this time."""
        with self._lock:
            self.outages[what].append((begun, ended))

    def happened(self, what, begun, ended):
        """Something was done to the fleet, and all was well again at the end."""
        with self._lock:
            self.events[what].append((begun, ended))

    def missing(self, found):
        """Acknowledged actions that are not among the ids found."""
        found = set(found)
        return [write for id, write in self.writes.items() if id not in found]

    def strange(self, found):
        """Ids that nobody has sent."""
        return sorted(set(found) - self.sent)

    def hides(self):
        """Acknowledged hides by user."""
        hides = collections.defaultdict(list)
        for write in self.writes.values():
            if write.name == "hide":
                hides[write.user].append(write)
        return hides

    def shown_hidden(self):
        """Answers that have a pin whose hide the replica had read when it was asked."""
        hides, passed = self.hides(), self._passed()
        return [
            read
            for read in self.reads
            if any(h.pin in read.pins and self._had_read(read, h, passed) for h in hides[read.user])
        ]

    def _passed(self):
        """When a replica is known to have read a write, by both: it has acknowledged the write, or
        honored its token."""
        passed = collections.defaultdict(list)
        for write in self.writes.values():
            passed[write.replica, write.id].append(write.acknowledged)
        for read in self.reads:
            if read.code == OK:
                passed[read.replica, read.write].append(read.ended)
        return passed

    def _had_read(self, read, hide, passed):
        """Whether the replica must have read a hide when it got this call."""
        if read.write == hide.id:
            return True
        before = [span for span in self.outages.get(read.replica, []) if span[0] <= read.begun]
        stopped, ready = max(before, default=(float("-inf"), float("-inf")))
        # One that is starting promises nothing. Once it is ready it knows what was there before.
        if ready > read.begun:
            return False
        times = passed.get((read.replica, hide.id), [])
        return hide.acknowledged < stopped or any(ready <= time <= read.begun for time in times)

    def unexcused(self, slack=0.0):
        """Refusals while the replica was there, and a majority of the engine. A call may begin so
        long after an outage as the fleet takes to notice that it is over."""
        return self._while_there(self.refusals, ("majority",), slack)

    def failed_reads(self, slack=0.0):
        """Reads of a replica that was there, and neither honored the token nor said that it cannot."""
        failed = (read for read in self.reads if read.code not in (OK, BEHIND))
        return self._while_there(failed, (), slack)

    def _while_there(self, calls, excuses, slack):
        was_away = self._was_away(slack)
        return [c for c in calls if not was_away((c.replica, *excuses), c.begun, c.ended)]

    def refused_without_majority(self, slack=0.0):
        """How many writes were refused while there was no majority."""
        was_away = self._was_away(slack)
        return sum(was_away(["majority"], refusal.begun, refusal.ended) for refusal in self.refusals)

    def _was_away(self, slack=0.0):
        """Tells whether one of several was away during some of a time."""
        away = {what: merge(spans, slack) for what, spans in self.outages.items()}
        return lambda names, *span: any(overlaps(away.get(name, []), *span) for name in names)

    def honored(self, during=None):
        """How many tokens replicas that were there honored, and how many they refused; of all, or
        only during events of one kind. One that is not ready yet gets no calls but ours."""
        spans, there = self._spans(during), self._while_there(self.reads, (), 0.0)
        codes = collections.Counter(r.code for r in there if overlaps(spans, r.begun, r.ended))
        return codes[OK], codes[BEHIND]

    def _spans(self, during):
        return merge(self.events.get(during, []), 0.0) if during else [(float("-inf"), float("inf"))]

    def _worst(self, spans, during):
        """The longest of these (replica, begun, ended) in which there was a majority, and the replica."""
        during, was_away = self._spans(during), self._was_away()
        took = [
            ended - begun
            for replica, begun, ended in spans
            if overlaps(during, begun, ended) and not was_away(("majority", replica), begun, ended)
        ]
        return max(took, default=0.0)

    def worst_write(self, during=None):
        """Seconds that the slowest acknowledged call took while there was a majority; of all, or
        only during events of one kind."""
        calls = ((None, write.begun, write.acknowledged) for write in self.writes.values())
        return self._worst(calls, during)

    def worst_gap(self, during=None):
        """Seconds for which a replica that was there did not have what another one acknowledged."""
        unseen = ((sight.replica, sight.acknowledged, sight.seen) for sight in self.sights)
        return self._worst(unseen, during)

    def longest_silence(self):
        """The longest time in which nothing was acknowledged while there was a majority, in seconds."""
        times = sorted({write.acknowledged for write in self.writes.values()})
        return self._worst(((None, *pair) for pair in zip(times, times[1:])), None)

    def delays(self):
        """With a majority, for replicas that were there: seconds until they had what another one
        acknowledged; while nothing was done to the fleet, and while something was."""
        spans, was_away = merge(itertools.chain(*self.events.values()), 0.0), self._was_away()
        calm, stormy = [], []
        for sight in self.sights:
            if not was_away(("majority", sight.replica), sight.acknowledged, sight.seen):
                is_stormy = overlaps(spans, sight.acknowledged, sight.seen)
                (stormy if is_stormy else calm).append(sight.seen - sight.acknowledged)
        return calm, stormy


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
