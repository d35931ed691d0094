#!/usr/bin/env python3
"""Checks exported profiles against SciPy, with no code of ours in between.

    pinnersage profiles export --profiles profiles --out export.parquet
    python3 tools/check_profiles.py --pins pins.parquet --actions actions.parquet \
        --export export.parquet [--alpha 4] [--lambda-per-day 0.01] [--window-days 90] [--every 1]

Made for the sample: unit vectors, every action a save on a pin of the catalog, times in
microseconds, no history longer than the cut. Medoids and sizes must be equal, and
importances equal within 1e-9. Needs numpy, scipy and pyarrow.
"""

import argparse

import numpy as np
import pyarrow.parquet as pq
from scipy.cluster.hierarchy import fcluster, linkage

DAY = 86_400 * 10**6


def wards(vectors, alpha):
    """The members of each of Ward's clusters, cut at `alpha` in squared units."""
    labels = np.ones(len(vectors), int)
    if len(vectors) > 1:
        labels = fcluster(linkage(vectors, "ward"), np.sqrt(alpha), "distance")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def reference(vectors, pins, times, as_of, alpha, lambda_per_day):
    """The profile of one user whose actions are sorted by time and pin."""
    profile = []
    for members in wards(vectors, alpha):
        own = vectors[members]
        cost = ((own[:, None] - own[None]) ** 2).sum(-1).sum(1)
        medoid = members[np.flatnonzero(cost <= cost.min() * (1 + 1e-5) + 1e-8)[0]]
        importance = np.exp(-lambda_per_day * (as_of - times[members]) / DAY).sum()
        profile.append((int(pins[medoid]), importance, len(members)))
    return sorted(profile, key=lambda medoid: (-medoid[1], medoid[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--pins", "--actions", "--export"):
        parser.add_argument(name, required=True)
    parser.add_argument("--alpha", type=float, default=4.0)
    parser.add_argument("--lambda-per-day", type=float, default=0.01)
    parser.add_argument("--window-days", type=int, default=90)
    parser.add_argument("--every", type=int, default=1, help="check every n-th user")
    args = parser.parse_args()

    table = pq.read_table(args.pins, columns=["pin_id", "embedding"])
    row = {pin: at for at, pin in enumerate(table["pin_id"].to_pylist())}
    vectors = np.array(table["embedding"].to_pylist(), np.float64)
    export = pq.read_table(args.export)
    as_of = export["as_of"].cast("int64")[0].as_py()
    profiles = dict(zip(export["user_id"].to_pylist(), export["medoids"].to_pylist()))

    actions = pq.read_table(args.actions)
    users, pins = (np.array(actions[name]) for name in ("user_id", "pin_id"))
    times = np.array(actions["time"].cast("int64"))
    inside = (times < as_of) & (times >= as_of - args.window_days * DAY)
    users, pins, times = users[inside], pins[inside], times[inside]
    assert set(profiles) == set(users.tolist()), "the export has other users"

    checked, worst = 0, 0.0
    for user in sorted(profiles)[:: args.every]:
        own = np.flatnonzero(users == user)
        own = own[np.lexsort((pins[own], times[own]))]
        rows = vectors[[row[pin] for pin in pins[own].tolist()]]
        expected = reference(rows, pins[own], times[own], as_of, args.alpha, args.lambda_per_day)
        found = [(m["pin_id"], m["importance"], m["size"]) for m in profiles[user]]
        same = [(pin, size) for pin, _, size in expected] == [(pin, size) for pin, _, size in found]
        assert same, f"user {user}: expected {expected}, found {found}"
        errors = [abs(a / b - 1) for (_, a, _), (_, b, _) in zip(found, expected)]
        worst = max([worst, *errors])
        checked += 1
    assert worst < 1e-9, f"an importance is off by {worst}"
    print(f"{checked} users agree with SciPy; importances within {worst:.1e}")


if __name__ == "__main__":
    main()
