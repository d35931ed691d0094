"""python3 deploy/scenarios/history_test.py: tests `history` with faults that are planted."""

import random
import unittest

from history import BEHIND, OK, History, Read, Refusal, Sight, Write, differing, doubled, merge, overlaps


def write(id, name="save", pin=7, begun=0.0, acknowledged=0.1):
    return Write(id, 1, pin, name, "a", begun, acknowledged)


def history_of(writes):
    history = History()
    history.send(w.id for w in writes)
    history.acknowledge(writes)
    return history


class Actions(unittest.TestCase):
    def test_one_of_ten_thousand_that_was_dropped_is_found(self):
        dice = random.Random(15)
        ids = [dice.randbytes(16) for _ in range(10_000)]
        history = history_of([write(id) for id in ids])
        self.assertEqual(history.missing(ids), [])
        lost = ids.pop(dice.randrange(len(ids)))
        self.assertEqual([w.id for w in history.missing(ids)], [lost])

    def test_an_action_that_nobody_acknowledged_may_be_there_or_not(self):
        history = history_of([write(b"a")])
        history.send([b"b"])
        for found in ([b"a"], [b"a", b"b"]):
            self.assertEqual(history.missing(found), [])
            self.assertEqual(history.strange(found), [])

    def test_an_action_that_nobody_sent_is_strange(self):
        self.assertEqual(history_of([write(b"a")]).strange([b"a", b"z"]), [b"z"])

    def test_the_first_acknowledgment_of_an_action_stays(self):
        history = history_of([write(b"a", acknowledged=1.0), write(b"a", acknowledged=9.0)])
        self.assertEqual(history.writes[b"a"].acknowledged, 1.0)

    def test_doubled(self):
        self.assertEqual(doubled([b"a", b"b"]), {})
        self.assertEqual(doubled([b"a", b"b", b"a"]), {b"a": 2})


def read(write=b"h", replica="b", code=OK, begun=1.0, ended=1.1, pins=frozenset(), user=1):
    return Read(write, user, replica, code, begun, ended, frozenset(pins))


class Hides(unittest.TestCase):
    def setUp(self):
        # Replica "a" has acknowledged it at 0.1.
        self.history = history_of([write(b"h", "hide", pin=7)])

    def shown(self, *reads):
        self.history.reads = list(reads)
        return [read.begun for read in self.history.shown_hidden()]

    def test_a_hidden_pin_that_is_shown_under_its_token_is_found(self):
        for pins, found in (({8}, []), ((), []), ({7, 8}, [1.0])):
            self.assertEqual(self.shown(read(pins=pins)), found, pins)

    def test_a_replica_that_has_honored_a_hide_must_not_show_its_pin_later(self):
        other = read(b"other", begun=3.0, pins={7})
        self.assertEqual(self.shown(read(b"h"), other), [3.0])
        self.assertEqual(self.shown(other), [])
        self.assertEqual(self.shown(read(b"h", code=BEHIND), other), [])
        # Nor while the first answer was under way, by another replica, or to another user.
        self.assertEqual(self.shown(read(b"h"), read(b"other", begun=1.05, pins={7})), [])
        self.assertEqual(self.shown(read(b"h"), read(b"other", "c", begun=3.0, pins={7})), [])
        self.assertEqual(self.shown(read(b"h"), read(b"other", begun=3.0, pins={7}, user=2)), [])

    def test_a_replica_that_has_acknowledged_a_hide_must_not_show_its_pin(self):
        self.assertEqual(self.shown(read(b"other", "a", begun=0.05, pins={7})), [])
        self.assertEqual(self.shown(read(b"other", "a", begun=0.2, pins={7})), [0.2])

    def test_a_replica_knows_what_was_there_before_its_start_once_it_is_ready(self):
        self.history.gone("c", 2.0, 4.0)
        shown = lambda begun: self.shown(read(b"other", "c", begun=begun, pins={7}))
        self.assertEqual([shown(begun) for begun in (1.0, 3.0, 4.5)], [[], [], [4.5]])
        # What came while it started it may not have read.
        self.history.acknowledge([write(b"i", "hide", pin=8, acknowledged=3.0)])
        self.assertEqual(self.shown(read(b"other", "c", begun=4.5, pins={8})), [])

    def test_a_replica_that_lost_its_disk_reads_again_what_it_had_honored(self):
        self.history.gone("b", 2.0, 4.0)
        self.assertEqual(self.shown(read(b"h"), read(b"other", begun=3.0, pins={7})), [])

    def test_a_pin_of_a_save_may_be_shown(self):
        self.history = history_of([write(b"s", "save", pin=7)])
        self.assertEqual(self.shown(read(b"s", pins={7})), [])

    def test_honored_tokens_are_counted(self):
        self.history.happened("kill", 5.0, 6.0)
        self.history.reads = [read(), read(), read(code=BEHIND), read(begun=5.5, ended=5.6, code=BEHIND)]
        self.assertEqual(self.history.honored(), (2, 2))
        self.assertEqual(self.history.honored("kill"), (0, 1))
        self.assertEqual(self.history.honored("hang"), (0, 0))
        self.history.gone("b", 5.2, 5.55)
        self.assertEqual(self.history.honored(), (2, 1))

    def test_a_read_may_fail_for_want_of_its_replica_alone(self):
        self.history.gone("b", 10.0, 20.0)
        self.history.gone("majority", 30.0, 40.0)
        failed = [read(code="UNAVAILABLE", begun=at, ended=at + 0.1) for at in (15.0, 21.0, 35.0)]
        self.history.reads = [read(), read(code=BEHIND), *failed]
        self.assertEqual([r.begun for r in self.history.failed_reads()], [21.0, 35.0])
        self.assertEqual([r.begun for r in self.history.failed_reads(slack=2.0)], [35.0])


class Refusals(unittest.TestCase):
    def setUp(self):
        self.history = History()
        self.history.gone("majority", 10.0, 20.0)
        self.history.gone("a", 40.0, 50.0)

    def unexcused(self, replica, begun, ended, slack=0.0):
        self.history.refusals = [Refusal(replica, "UNAVAILABLE", begun, ended)]
        return len(self.history.unexcused(slack))

    def test_without_a_majority_all_may_refuse(self):
        self.assertEqual(self.unexcused("b", 12.0, 13.0), 0)
        self.assertEqual(self.unexcused("b", 5.0, 11.0), 0)
        self.assertEqual(self.unexcused("b", 19.0, 25.0), 0)

    def test_with_a_majority_nobody_may(self):
        self.assertEqual(self.unexcused("b", 5.0, 9.0), 1)
        self.assertEqual(self.unexcused("b", 21.0, 22.0), 1)

    def test_slack_counts_after_the_outage_and_not_before(self):
        self.assertEqual(self.unexcused("b", 21.0, 22.0, slack=2.0), 0)
        self.assertEqual(self.unexcused("b", 8.0, 9.0, slack=2.0), 1)

    def test_refusals_without_a_majority_are_counted(self):
        spans = ((12.0, 13.0), (21.0, 22.0), (45.0, 46.0))
        self.history.refusals = [Refusal("a", "UNAVAILABLE", *span) for span in spans]
        self.assertEqual(self.history.refused_without_majority(), 1)
        self.assertEqual(self.history.refused_without_majority(slack=2.0), 2)

    def test_a_replica_that_is_away_excuses_itself_alone(self):
        self.assertEqual(self.unexcused("a", 45.0, 46.0), 0)
        self.assertEqual(self.unexcused("b", 45.0, 46.0), 1)


class Spans(unittest.TestCase):
    def test_spans_that_overlap_become_one(self):
        self.assertEqual(merge([(5, 6), (1, 3), (2, 4)], 0), [(1, 4), (5, 6)])
        self.assertEqual(merge([(1, 3), (5, 6)], 2), [(1, 8)])

    def test_a_long_span_before_a_short_one_is_seen(self):
        spans = merge([(0, 100), (10, 11)], 0)
        self.assertTrue(overlaps(spans, 50, 51))
        self.assertFalse(overlaps(spans, 101, 102))
        self.assertFalse(overlaps([], 0, 1))


class Silence(unittest.TestCase):
    def test_worst_write_and_longest_silence(self):
        history = history_of([
            write(b"a", begun=0.0, acknowledged=0.5),
            write(b"b", begun=0.1, acknowledged=0.6),
            write(b"c", begun=3.5, acknowledged=3.6),
        ])
        self.assertAlmostEqual(history.worst_write(), 0.5)
        self.assertAlmostEqual(history.longest_silence(), 3.0)
        self.assertEqual(History().longest_silence(), 0.0)

    def test_what_took_long_without_a_majority_does_not_count(self):
        history = history_of([
            write(b"a", begun=0.0, acknowledged=0.5),
            write(b"b", begun=1.0, acknowledged=9.0),
        ])
        history.gone("majority", 2.0, 8.0)
        self.assertAlmostEqual(history.worst_write(), 0.5)
        self.assertEqual(history.longest_silence(), 0.0)


    def test_a_write_counts_for_the_events_in_which_it_was_under_way(self):
        history = history_of([
            write(b"a", begun=0.0, acknowledged=0.2),
            write(b"b", begun=4.9, acknowledged=5.3),
            write(b"c", begun=8.0, acknowledged=9.0),
        ])
        history.happened("kill", 5.0, 6.0)
        self.assertAlmostEqual(history.worst_write("kill"), 0.4)
        self.assertAlmostEqual(history.worst_write(), 1.0)
        self.assertEqual(history.worst_write("hang"), 0.0)


class Gaps(unittest.TestCase):
    def setUp(self):
        self.history = History()
        self.history.happened("kill", 5.0, 6.0)
        for replica, acknowledged, seen in (("a", 1.0, 1.01), ("a", 5.0, 5.2), ("b", 5.0, 5.9)):
            self.history.see(Sight(replica, acknowledged, seen))

    def test_the_longest_time_in_which_a_replica_has_not_seen_an_action(self):
        self.assertAlmostEqual(self.history.worst_gap(), 0.9)
        self.assertAlmostEqual(self.history.worst_gap("kill"), 0.9)
        self.assertEqual(self.history.worst_gap("hang"), 0.0)

    def test_a_replica_that_is_away_sees_nothing(self):
        self.history.gone("b", 5.5, 5.8)
        self.assertAlmostEqual(self.history.worst_gap("kill"), 0.2)

    def test_delays_when_calm_and_not(self):
        calm, stormy = self.history.delays()
        self.assertEqual([round(delay, 3) for delay in calm], [0.01])
        self.assertEqual([round(delay, 3) for delay in stormy], [0.2, 0.9])
        self.history.gone("b", 5.5, 5.8)
        self.assertEqual(len(self.history.delays()[1]), 1)
        self.history.gone("majority", 0.5, 2.0)
        self.assertEqual(self.history.delays()[0], [])


class Answers(unittest.TestCase):
    def test_equal_answers(self):
        self.assertEqual(differing({"a": {1: b"x"}, "b": {1: b"x"}}), [])

    def test_an_answer_that_differs_by_a_byte_or_is_missing(self):
        answers = {"a": {1: b"x", 2: b"y", 3: b"z"}, "b": {1: b"x", 2: b"Y"}}
        self.assertEqual(differing(answers), [2, 3])


if __name__ == "__main__":
    unittest.main()
