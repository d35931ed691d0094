"""python3 deploy/scenarios/history_test.py: tests `history` with faults that are planted."""

import random
import unittest

from history import History, Read, Refusal, Write, differing, doubled, merge, overlaps


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


class Hides(unittest.TestCase):
    def test_a_hidden_pin_that_is_shown_under_its_token_is_found(self):
        history = history_of([write(b"h", "hide", pin=7)])
        for pins, found in ((frozenset({8}), 0), (None, 0), (frozenset({7, 8}), 1)):
            history.reads = [Read(b"h", "b", 1.0, pins)]
            self.assertEqual(len(history.shown_hidden()), found, pins)

    def test_a_pin_of_a_save_may_be_shown(self):
        history = history_of([write(b"s", "save", pin=7)])
        history.read(Read(b"s", "b", 1.0, frozenset({7})))
        self.assertEqual(history.shown_hidden(), [])

    def test_honored_tokens_are_counted(self):
        history = History()
        for pins in (frozenset(), frozenset({1}), None):
            history.read(Read(b"h", "b", 1.0, pins))
        self.assertEqual(history.honored(), (2, 1))


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


class Answers(unittest.TestCase):
    def test_equal_answers(self):
        self.assertEqual(differing({"a": {1: b"x"}, "b": {1: b"x"}}), [])

    def test_an_answer_that_differs_by_a_byte_or_is_missing(self):
        answers = {"a": {1: b"x", 2: b"y", 3: b"z"}, "b": {1: b"x", 2: b"Y"}}
        self.assertEqual(differing(answers), [2, 3])


if __name__ == "__main__":
    unittest.main()
