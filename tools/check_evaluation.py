#!/usr/bin/env python3
"""Replays an evaluation in NumPy and SciPy, with no code of ours in between.

    pinnersage evaluate --actions actions.parquet --catalog catalog --from 2017-10-01 \
        --to 2018-01-01 --users 100 --exact --details details.jsonl --json > report.jsonl
    python3 tools/check_evaluation.py --pins pins.parquet --actions actions.parquet \
        --from 2017-10-01 --to 2018-01-01 --details details.jsonl --report report.jsonl

Of the models pinnersage, pinnersage_1, last_pin, decay_average and ward_centroid each line
of details is made again, and from all lines the report. Taken over from the lines, as they
are random, are which interests were drawn, and the negatives. Prints both results, and exits
with 1 where they differ by more than rounding: cosines within 1e-6 of each other, or of the
limit of relevance, may go either way, importances must be equal within 1e-9.

Made for catalogs with all pins of the file, and for actions that weigh 1. Options must be
those of the evaluation. A user of whom there is no line is not missed, as it was not
necessarily chosen. Needs numpy, scipy and pyarrow.
"""

import argparse
import json
import sys
from collections import Counter, namedtuple
from datetime import datetime, timezone

import numpy as np
import pyarrow.parquet as pq
from check_profiles import wards

DAY = 86_400 * 10**6
ROUNDING = 1e-6
# Digits of cosines that stand: equal vectors have equal ones, but for the order of sums.
DIGITS = 9
# How many interests are drawn.
MODELS = {"pinnersage": 3, "pinnersage_1": 1, "last_pin": 3, "decay_average": 3, "ward_centroid": 3}
NEGATIVES = 20
# As they are called in the report, and what they are a mean over.
MEASURES = {
    "relevance": "actions",
    "recall": "actions",
    "diversity": "lists",
    "r_precision": "actions",
    "reciprocal_rank": "actions",
}

# Of one user, by time and then by pin; pins as rows.
History = namedtuple("History", "times rows")
# A pin, or None where a vector of its own stands for the interest.
Interest = namedtuple("Interest", "pin vector importance")
# What all models are asked on one day: rows, and interests by model.
Question = namedtuple("Question", "targets barred interests")
# A number, and the least and the greatest that rounding may make of it.
Measured = namedtuple("Measured", "value low high")


class Different(Exception):
    """Where the two computations part."""


def require(same, what):
    if not same:
        raise Different(what)


class Pins:
    """Ids, ascending, and their unit vectors in f64."""

    def __init__(self, path):
        table = pq.read_table(path, columns=["pin_id", "embedding"]).sort_by("pin_id")
        self.ids = np.array(table["pin_id"])
        vectors = np.array(table["embedding"].to_pylist(), np.float64)
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def rows(self, ids):
        rows = np.searchsorted(self.ids, ids)
        require(np.array_equal(self.ids[np.minimum(rows, len(self.ids) - 1)], ids), "unknown pins")
        return rows


def read_histories(paths, pins):
    """The history of each user."""
    tables = [pq.read_table(path) for path in paths]
    if any("action" in table.column_names for table in tables):
        sys.exit("error: the actions have names; here each weighs 1")
    names = ("user_id", "pin_id", "time")
    users, ids, times = (np.concatenate([table[name] for table in tables]) for name in names)
    times = times.astype("datetime64[us]").astype(np.int64)
    order = np.lexsort((ids, times, users))
    order = order[np.isin(ids[order], pins.ids)]
    users, times, rows = users[order], times[order], np.searchsorted(pins.ids, ids[order])
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    ends = [*starts[1:], len(users)]
    return {
        int(users[start]): History(times[start:end], rows[start:end])
        for start, end in zip(starts, ends)
    }


def between(history, begin, end):
    inside = slice(*np.searchsorted(history.times, [begin, end]))
    return History(history.times[inside], history.rows[inside])


def ask(history, day, pins, args):
    """The question of a day; None where there is nothing to judge by."""
    window = between(history, day - args.window_days * DAY, day)
    window = History(*(column[-args.max_actions :] for column in window))
    targets = between(history, day, day + args.horizon * DAY).rows
    barred = np.unique(window.rows) if args.repeats == "off" else np.empty(0, int)
    targets = targets[~np.isin(targets, barred)]
    if not len(window.rows) or not len(targets):
        return None
    return Question(targets, barred, interests_of(window, day, pins, args))


def interests_of(window, day, pins, args):
    """By model, all interests by falling importance."""
    weights = np.exp(-args.lambda_per_day * (day - window.times) / DAY)
    last = window.rows[-1]
    medoids, centroids = interests_of_clusters(window, weights, pins, args.alpha)
    mean = weights @ pins.vectors[window.rows]
    return {
        "pinnersage": medoids,
        "pinnersage_1": medoids,
        "ward_centroid": centroids,
        "last_pin": [Interest(pins.ids[last], pins.vectors[last], 1.0)],
        "decay_average": [Interest(None, mean / np.linalg.norm(mean), 1.0)],
    }


def interests_of_clusters(window, weights, pins, alpha):
    """Ward's clusters, each by its medoid, and each by its centroid."""
    vectors = pins.vectors[window.rows]
    clusters = []
    for members in wards(vectors, alpha):
        medoid = members[medoid_of(vectors[members])]
        # One after another: a sum in another order may turn equal ones around.
        importance = sum(weights[members].tolist())
        centroid = vectors[members].sum(0)
        row = window.rows[medoid]
        clusters.append((row, importance, centroid / np.linalg.norm(centroid)))
    clusters.sort(key=lambda cluster: (-cluster[1], cluster[0]))
    medoids = [Interest(pins.ids[row], pins.vectors[row], at) for row, at, _ in clusters]
    return medoids, [Interest(None, centroid, at) for _, at, centroid in clusters]


def medoid_of(vectors):
    """The member with the least sum of squared distances to all; the earliest of equal ones."""
    squares = (vectors**2).sum(1)
    costs = len(vectors) * squares - 2 * vectors @ vectors.sum(0) + squares.sum()
    return np.flatnonzero(costs <= costs.min() * (1 + 1e-5) + 1e-8)[0]


def check_interests(line, interests, pins):
    """Compares all interests, and returns those that were drawn."""
    found, drawn = line["medoids"], line["sampled"]
    require(len(found) == len(interests), f"{len(found)} interests, not {len(interests)}")
    by_pin = {}
    for theirs, own in zip(found, interests):
        pin, importance = theirs["pin"], theirs["importance"]
        same = pin == own.pin if own.pin is not None else pin not in pins.ids
        require(same, f"interest {pin}, not {own.pin}")
        require(abs(importance / own.importance - 1) < 1e-9, f"importance of {pin}")
        by_pin[pin] = own
    names = [theirs["pin"] for theirs in drawn]
    require(len(set(names)) == min(MODELS[line["model"]], len(interests)), "number of draws")
    require(set(names) <= set(by_pin), "a draw that is no interest")
    same = (abs(d["importance"] / by_pin[d["pin"]].importance - 1) < 1e-9 for d in drawn)
    require(all(same), "importance of a draw")
    return [by_pin[pin] for pin in names]


def quotas(importances, limit):
    """Shares of `limit` by the largest remainder, at least one each while there are enough."""
    shares = np.array(importances) / sum(importances) * limit
    quotas = np.maximum(shares.astype(int), 1)
    while quotas.sum() < limit:
        quotas[np.argmax(shares - quotas)] += 1
    while quotas.sum() > limit:
        givers = [at for at in range(len(quotas)) if quotas[at] > 0]
        quotas[min(givers, key=lambda at: (quotas[at] <= 1, shares[at] - quotas[at], -at))] -= 1
    return quotas


def turns(quotas):
    """Whose turn it is, without end: smooth weighted round-robin."""
    credit = np.zeros(len(quotas), int)
    while True:
        credit += quotas
        richest = max(np.flatnonzero(quotas), key=lambda at: (credit[at], -at))
        credit[richest] -= quotas.sum()
        yield richest


def check_candidates(found, drawn, barred, pins, limit):
    """Each candidate must be the nearest that is left to the interest whose turn it is."""
    left = np.ones(len(pins.ids), bool)
    left[barred] = False
    scores = [np.round(pins.vectors @ interest.vector, DIGITS) for interest in drawn]
    orders = [np.argsort(-score, kind="stable") for score in scores]
    places = [0] * len(drawn)
    turn = turns(quotas([interest.importance for interest in drawn], limit))
    for number, row in enumerate(found):
        at = next(turn)
        while not left[orders[at][places[at]]]:
            places[at] += 1
        best = orders[at][places[at]]
        near = left[row] and scores[at][row] >= scores[at][best] - ROUNDING
        # Of equal vectors the pin of the lower id comes first.
        in_turn = row == best or not np.array_equal(pins.vectors[row], pins.vectors[best])
        require(near and in_turn, f"candidate {number} is {pins.ids[row]}, not {pins.ids[best]}")
        left[row] = False
    require(len(found) == limit or not left.any(), f"{len(found)} candidates")


def measured(measure):
    """A measure that grows with what is added to the scores of targets."""
    return Measured(*(float(measure(more)) for more in (0.0, -ROUNDING, ROUNDING)))


def measures_of(question, found, drawn, negatives, pins, relevant):
    """All measures of a list, summed over targets."""
    targets, listed = pins.vectors[question.targets], pins.vectors[found]
    recalled = np.isin(question.targets, found)
    nearest = (targets @ listed.T).max(1, initial=-1.0)
    total = listed.sum(0)
    pairs = len(found) * (len(found) - 1)
    diversity = 1 - (total @ total - len(found)) / pairs if pairs else 0.0
    of_drawn = np.array([interest.vector for interest in drawn]).T
    scores = np.round(pins.vectors[[*question.targets, *negatives]] @ of_drawn, DIGITS).max(1)
    own, others = scores[: len(targets)], scores[len(targets) :]
    against = others.reshape(len(own), -1)
    return {
        "relevance": measured(lambda more: (recalled | (nearest + more >= relevant)).sum()),
        "recall": measured(lambda _: recalled.sum()),
        "diversity": measured(lambda more: diversity + more),
        "r_precision": measured(lambda more: precise(own + more, others)),
        "reciprocal_rank": measured(lambda more: reciprocal_ranks(own + more, against).sum()),
    }


def precise(own, others):
    """How many of the best as many as `own` are of `own`; of equal ones at the edge a part."""
    scores = np.concatenate([own, others])
    edge = np.sort(scores)[-len(own)]
    rest = len(own) - (scores > edge).sum()
    return (own > edge).sum() + rest * (own == edge).sum() / (scores == edge).sum()


def reciprocal_ranks(own, against):
    """Of each of `own` among those it stands against; of equal ones half are better."""
    own = own[:, None]
    return 1 / (1 + (against > own).sum(1) + 0.5 * (against == own).sum(1))


def check_line(line, question, pins, args):
    """Makes a line again and returns its measures."""
    own = question.interests[line["model"]]
    drawn = check_interests(line, own, pins)
    found, targets = pins.rows(line["pins"]), pins.rows(line["targets"])
    require(np.array_equal(targets, question.targets), "targets")
    medoids = pins.rows([interest.pin for interest in own if interest.pin is not None])
    barred = np.concatenate([question.barred, medoids]).astype(int)
    check_candidates(found, drawn, barred, pins, args.limit)
    negatives = pins.rows(line["negatives"])
    require(len(negatives) == NEGATIVES * len(targets), "number of negatives")
    taken = np.concatenate([question.barred, targets])
    require(not np.isin(negatives, taken).any(), "a negative that could be no candidate")
    sums = measures_of(question, found, drawn, negatives, pins, args.relevant)
    names = ["relevant", "recalled", "diversity", "precise", "reciprocal"]
    for name, ours in zip(names, sums.values()):
        close = ours.low - 1e-9 <= line[name] <= ours.high + 1e-9
        require(close, f"{name} is {line[name]}, not {ours.value}")
    return sums


def replay(lines, histories, pins, args):
    """Checks all lines; returns sums, counts by model, and where they differ."""
    models = {line["model"] for line in lines} & set(MODELS)
    sums = {model: {name: np.zeros(3) for name in MEASURES} for model in models}
    counts = {model: Counter() for model in models}
    differences = []
    of_days = {(line["user"], line["day"], line["model"]): line for line in lines}
    users = sorted({line["user"] for line in lines})
    if not histories.keys() >= set(users):
        sys.exit("error: the details have users who are not in the actions")
    for user, day in ((user, day) for user in users for day in args.days):
        question = ask(histories[user], day, pins, args)
        for model in sorted(models):
            name = datetime.fromtimestamp(day / 10**6, timezone.utc).strftime("%FT%TZ")
            line = of_days.get((user, name, model))
            try:
                require((line is None) == (question is None), "whether the day counts")
                if line is None:
                    continue
                of_line = check_line(line, question, pins, args)
            except Different as difference:
                differences.append(f"user {user}, {name[:10]}, {model}: {difference}")
                continue
            counts[model].update(lists=1, actions=len(question.targets))
            for measure, own in of_line.items():
                sums[model][measure] += own
    for model in models:
        counts[model]["users"] = len(users)
    return sums, counts, differences


def check_report(report, sums, counts):
    """Prints both results side by side, and returns where they differ."""
    differences = []
    print(f"{'model':<15}{'measure':<17}{'evaluate':>12}{'here':>12}")
    for row in report:
        model = row["model"]
        if model not in sums:
            continue
        for name, over in MEASURES.items():
            own = Measured(*sums[model][name] / max(counts[model][over], 1))
            print(f"{model:<15}{name:<17}{row[name]:>12.8f}{own.value:>12.8f}")
            if not own.low - 1e-9 <= row[name] <= own.high + 1e-9:
                differences.append(f"{model}: {name} is {row[name]}, not {own.value}")
        for name, count in counts[model].items():
            if row[name] != count:
                differences.append(f"{model}: {row[name]} {name}, not {count}")
    missing = sums.keys() - {row["model"] for row in report}
    return differences + [f"{model} is not in the report" for model in sorted(missing)]


def read_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def micros(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 10**6


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--pins", "--details", "--report"):
        parser.add_argument(name, required=True, metavar="FILE")
    parser.add_argument("--actions", required=True, nargs="+", metavar="FILE")
    for name in ("--from", "--to"):
        parser.add_argument(name, required=True, dest=name[2:], type=micros, metavar="DATE")
    parser.add_argument("--every", type=int, default=1, help="days")
    parser.add_argument("--horizon", type=int, default=1, help="days")
    parser.add_argument("--limit", type=int, default=400, help="candidates in a list")
    parser.add_argument("--relevant", type=float, default=0.8, help="least cosine")
    parser.add_argument("--repeats", choices=["on", "off"], default="off")
    parser.add_argument("--alpha", type=float, default=4.0)
    parser.add_argument("--lambda-per-day", type=float, default=0.01)
    parser.add_argument("--window-days", type=int, default=90)
    parser.add_argument("--max-actions", type=int, default=3000, help="of a window, the latest")
    args = parser.parse_args()
    args.days = range(getattr(args, "from"), args.to, args.every * DAY)
    return args


def main():
    args = arguments()
    pins = Pins(args.pins)
    lines = [line for line in read_lines(args.details) if line["model"] in MODELS]
    if not lines:
        sys.exit(f"error: no line of {args.details} is of {', '.join(MODELS)}")
    sums, counts, differences = replay(lines, read_histories(args.actions, pins), pins, args)
    of_report = check_report(read_lines(args.report), sums, counts)
    # Where lines differ the report must.
    differences = differences or of_report
    if differences:
        print(*differences[:20], sep="\n")
        sys.exit(f"error: {len(differences)} differences in {len(lines)} lines")
    users = len({line["user"] for line in lines})
    print(f"{len(lines)} lines of {users} users are the same here, and so is the report")


if __name__ == "__main__":
    main()
