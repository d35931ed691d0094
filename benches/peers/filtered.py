"""Search under a filter: as in `search`, every engine on one core, one query a call, in turns.

A case is an attribute and the share of the pins that the filter selects. The queries are
pins whether the filter selects them or not. A rate is one by the median time of a call, which
other work on the machine disturbs least: CPU time for the peers, time of the clock for
pinnersage, which measures itself.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from multiprocessing import get_context

import numpy as np

from common import SEARCH_CORE, json_lines, say
from data import ATTRIBUTES, attributes, query_rows, write_parquet
from filtered_engines import FILTERED, Selection
from search import Command, Peer, Point
from table import RECALLS_FILTERED

K = 100
SELECTIVITIES = (0.001, 0.01, 0.1, 0.5, 0.9)
CASES = [Selection(attribute, share) for attribute in ATTRIBUTES for share in SELECTIVITIES]
QUERIES = 200
LEAST_QUERIES = 25
SECONDS_A_POINT = 0.2
GROWTH = 1.6
EFFORTS = (101, 128, 160, 200, 250, 320, 400, 500, 640, 800)
LEAST_RATE = 20


def widths(pins):
    """From `K` and the query itself up to half of the pins."""
    width = K + 1
    while width < pins / 2:
        yield width
        width = round(width * GROWTH)


class FilteredPeer(Peer):
    def start(self, truths):
        self.truths = truths
        self.pipe, theirs = get_context("spawn").Pipe()
        files = str(self.data.vector_file), str(self.index)
        self.worker = get_context("spawn").Process(
            target=serve_filtered, args=(self.engine, *files, theirs), daemon=True
        )
        self.worker.start()
        theirs.close()
        self.pipe.recv()

    def measure(self, case, known):
        """Wider and wider until the recall is good enough; what `known` says is useless is skipped."""
        self.pipe.send((case, self.truths[case]))
        for width in widths(self.data.pins()):
            if is_useless(width, known):
                continue
            self.pipe.send(width)
            point = self.pipe.recv()
            yield point, {}
            is_enough = point.recall >= max(RECALLS_FILTERED)
            is_slow = point.queries_per_second < LEAST_RATE
            if is_enough or is_slow or not getattr(self.engine, "has_widths", True):
                break
        self.pipe.send(None)

    def stop(self):
        self.pipe.send(None)
        self.worker.join()


def is_useless(width, known):
    """Whether an earlier round's next wider point already missed the lowest recall."""
    wider = [point for point in known.values() if point.width > width]
    return bool(wider) and min(wider, key=lambda point: point.width).recall < min(RECALLS_FILTERED)


class FilteredCommand(Command):
    def start(self, truths):
        pass

    def measure(self, case, known):
        condition = {"attribute": case.attribute, "range": {"lt": case.bound}}
        efforts = [effort for effort in EFFORTS if not is_useless(effort, known)]
        command = [*self.check, "--k", K, "--queries", QUERIES, "--json",
                   "--effort", ",".join(map(str, efforts)),
                   "--filter", json.dumps({"must": [condition]})]
        for line in json_lines(command, core=SEARCH_CORE):
            rate = 1e6 / line["p50_us"]
            point = Point(K, line["effort"], line["recall"], rate, line["p50_us"], line["p99_us"])
            yield point, {"plan": line["filtered"]["plan"]}


def serve_filtered(engine, vector_file, path, pipe):
    """The worker: loads the index, then takes cases, and of each case widths."""
    os.sched_setaffinity(0, {SEARCH_CORE})
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # some libraries chat
    stored = np.load(vector_file, mmap_mode="r")
    rows = queries(len(stored))
    vectors, columns = stored[rows], attributes(stored)
    engine.load(path, vector_file)
    pipe.send("loaded")
    while (asked := pipe.recv()) is not None:
        case, truth = asked
        mask = columns[case.attribute] < case.bound
        engine.select(case, mask)
        while (width := pipe.recv()) is not None:
            engine.set_width(width)
            k = min(K + 1, mask.sum().item())
            pipe.send(measured(engine, width, k, list(zip(rows, vectors, truth))))


def queries(pins):
    """Their order is random, so that the first ones are a fair sample."""
    return np.random.default_rng(2).permutation(query_rows(pins))[:QUERIES]


def exact_nearest(vectors, rows, matches):
    """For each query the set of its `K` nearest matches, all of them where there are fewer."""
    scores = vectors[rows] @ vectors[matches].T
    scores[rows[:, None] == matches] = -np.inf
    nearest = []
    for of_query, row in zip(scores, rows):
        others = min(K, len(matches) - np.count_nonzero(matches == row))
        nearest.append(set(matches[np.argpartition(of_query, -others)[-others:]].tolist()))
    return nearest


def measured(engine, width, k, queries):
    """One more than `K` is asked for, as a query that is a match does not count. Slow engines
    are asked fewer queries."""
    nanoseconds, right, wanted = [], 0, 0
    engine.search(queries[-1][1], k)
    for row, query, nearest in queries:
        began = time.process_time_ns()
        answer = engine.search(query, k)
        nanoseconds.append(time.process_time_ns() - began)
        others = [found for found in answer.tolist() if found != row][:K]
        right += len(set(others) & nearest)
        wanted += len(nearest)
        if sum(nanoseconds) > 1e9 * SECONDS_A_POINT and len(nanoseconds) >= LEAST_QUERIES:
            break
    p50, p99 = np.percentile(nanoseconds, [50, 99]).tolist()
    return Point(K, width, right / wanted, 1e9 / p50, p50 / 1000, p99 / 1000)


def engines_for(data, options):
    engines = []
    if options.pinnersage.exists():
        pins, catalog = data.directory / "pins-attributes.parquet", data.directory / "catalog-attributes"
        if not pins.exists():
            vectors = data.vectors()
            write_parquet(pins, vectors, [""] * len(vectors), **attributes(vectors))
        columns = ",".join(f"{name}:float" for name in ATTRIBUTES)
        build = [options.pinnersage, "catalog", "build", "--pins", pins, "--out", catalog,
                 "--embedding-version", "bench", "--attributes", columns]
        check = [options.pinnersage, "catalog", "check", "--catalog", catalog, "--threads", 1]
        engines.append(FilteredCommand("pinnersage", check, build, catalog))
    else:
        say(f"no {options.pinnersage}: pinnersage is left out")
    engines += [FilteredPeer(name, engine, data) for name, engine in FILTERED.items()]
    return [engine for engine in engines if options.wants(engine.name)]


def run(data, options):
    """All engines under all filters: a row for each engine and case, with its best points."""
    engines = engines_for(data, options)
    for engine in engines:
        say(f"  {engine.name}: build")
        engine.build()
    vectors = data.vectors()
    columns, rows = attributes(vectors), queries(len(vectors))
    truths = {
        case: exact_nearest(vectors, rows, np.flatnonzero(columns[case.attribute] < case.bound))
        for case in CASES
    }
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by the workers: all have one core
    for engine in engines:
        engine.start(truths)
    best = {(engine.name, case): {} for engine in engines for case in CASES}
    facts = {}
    for number in range(options.rounds):
        for case in CASES:
            for engine in engines:
                about = f"  round {number + 1}: {case.attribute} {case.bound:.1%}: {engine.name}"
                points = best[engine.name, case]
                for point, fact in engine.measure(case, dict(points)):
                    rate = f"{point.queries_per_second:,.0f} queries/s"
                    say(f"{about}: recall {point.recall:.4f} at {point.width}, {rate}")
                    facts.setdefault((engine.name, case), {}).update(fact)
                    known = points.get(point.width)
                    if known is None or point.queries_per_second > known.queries_per_second:
                        points[point.width] = point
    for engine in engines:
        engine.stop()
    return [
        {
            "engine": name,
            **asdict(case),
            **facts.get((name, case), {}),
            "points": [asdict(point) for point in points.values()],
        }
        for (name, case), points in best.items()
    ]
