"""In-process search: every engine on one core, one query a call, measured in turns.

Each library lives in a worker process of its own, pinned to the same core as the
others, so that its memory can be told apart. Only one of them works at a time, and in
every round each is asked the same, so that a slow minute of the machine hits all.
"""

import gc
import json
import os
import resource
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import numpy as np

from common import SEARCH_CORE, Cost, json_lines, resident_bytes, say
from data import QUERIES, query_rows
from engines import PEERS, return_freed_memory

DEPTHS = (100, 400)
WIDTHS_OVER_K = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.4, 8.0, 10.0)
ENOUGH_RECALL = 0.998
LEAST_GAIN = 0.0005


@dataclass
class Point:
    """One engine asked for `k` neighbors of every query at one width of its search."""

    k: int
    width: int
    recall: float
    queries_per_second: float
    p50_us: float
    p99_us: float


def widths(k):
    """None can search narrower than what it is to return: `k` and the query itself."""
    return [max(k + 1, round(factor * k)) for factor in WIDTHS_OVER_K]


class Peer:
    """A Python library in a worker process."""

    def __init__(self, name, engine, data):
        self.name, self.engine, self.data = name, engine, data
        index_name = getattr(engine, "index_name", name)  # some share one
        self.index = data.directory / "indexes" / index_name.replace(" ", "-")
        self.cost_file = self.index.with_suffix(".cost.json")

    def build(self):
        """Built in a process of its own, once: what it cost is kept beside the index."""
        if not self.cost_file.exists():
            self.index.parent.mkdir(exist_ok=True)
            self._call_in_child(build_index, str(self.index), str(self.cost_file))
        self.cost = Cost(**json.loads(self.cost_file.read_text()))

    def _call_in_child(self, function, *arguments):
        child = get_context("spawn").Process(
            target=function, args=(self.engine, str(self.data.vector_file), *arguments)
        )
        child.start()
        child.join()
        if child.exitcode != 0:
            raise RuntimeError(f"{self.name}: {function.__name__} ended with {child.exitcode}")

    def start(self):
        self.pipe, theirs = get_context("spawn").Pipe()
        self.worker = get_context("spawn").Process(
            target=serve_searches,
            args=(self.engine, str(self.data.vector_file), str(self.index), self.data.nearest(), theirs),
            daemon=True,
        )
        self.worker.start()
        theirs.close()
        self.bytes_per_pin = self.pipe.recv()

    def measure(self, k):
        """Wider and wider until the recall is as good as anybody needs, or grows no more."""
        reached = 0.0
        for width in widths(k):
            self.pipe.send((k, width))
            point = self.pipe.recv()
            yield point
            if point.recall >= ENOUGH_RECALL or point.recall < reached + LEAST_GAIN:
                break
            reached = point.recall

    def stop(self):
        self.pipe.send(None)
        self.worker.join()


class Command:
    """An engine that measures itself and prints a line of JSON for every effort."""

    def __init__(self, name, check, build, built):
        self.name, self.check, self.build_command, self.built = name, check, build, built
        self.cost, self.bytes_per_pin = None, None

    def build(self):
        if self.build_command:
            shutil.rmtree(self.built, ignore_errors=True)
            before, began = children_cpu_seconds(), time.monotonic()
            json_lines(self.build_command)
            self.cost = Cost(time.monotonic() - began, children_cpu_seconds() - before)

    def start(self):
        pass

    def measure(self, k):
        efforts = ",".join(map(str, widths(k)))
        arguments = ["--k", k, "--queries", QUERIES, "--effort", efforts, "--json"]
        for line in json_lines([*self.check, *arguments], core=SEARCH_CORE):
            self.bytes_per_pin = line["resident_bytes_per_pin"]
            if "build_cpu_seconds" in line:
                self.cost = Cost(line.get("build_seconds"), line["build_cpu_seconds"])
            yield Point(
                line["k"],
                line["effort"],
                line["recall"],
                line["queries_per_second"],
                line["p50_us"],
                line["p99_us"],
            )

    def stop(self):
        pass


def build_index(engine, vector_file, path, cost_file):
    vectors = np.load(vector_file)
    before, began = own_cpu_seconds(), time.monotonic()
    engine.build(vectors, path)
    cost = Cost(time.monotonic() - began, own_cpu_seconds() - before)
    with open(cost_file, "w") as file:
        json.dump(asdict(cost), file)


def own_cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def children_cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def serve_searches(engine, vector_file, path, nearest, pipe):
    """The worker: loads the index, tells its size, then measures what it is asked to."""
    os.sched_setaffinity(0, {SEARCH_CORE})
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # some libraries chat
    stored = np.load(vector_file, mmap_mode="r")
    rows = query_rows(len(stored))
    queries = np.array(stored[rows])
    before = resident_bytes()
    engine.load(path, vector_file)
    gc.collect()
    return_freed_memory()
    pipe.send((resident_bytes() - before) / len(stored))
    del stored
    while (asked := pipe.recv()) is not None:
        k, width = asked
        engine.set_width(width)
        pipe.send(measured(engine, k, width, rows, queries, nearest))


def measured(engine, k, width, rows, queries, nearest):
    """Asks for one more than `k`, for the query itself is indexed and does not count."""
    answers, nanoseconds = [], []
    for query in queries:
        began = time.perf_counter_ns()
        answer = engine.search(query, k + 1)
        nanoseconds.append(time.perf_counter_ns() - began)
        answers.append(answer)
    right = 0
    for row, answer, best in zip(rows, answers, nearest):
        others = [found for found in answer.tolist() if found != row][:k]
        right += len(set(others) & set(best[:k].tolist()))
    return Point(
        k,
        width,
        right / (k * len(rows)),
        1e9 * len(rows) / sum(nanoseconds),
        np.percentile(nanoseconds, 50).item() / 1000,
        np.percentile(nanoseconds, 99).item() / 1000,
    )


def engines_for(data, options):
    """The engines asked for. The external commands come first, to fail early if they do."""
    engines = []
    catalog = data.directory / "catalog"
    if options.pinnersage.exists():
        check = [options.pinnersage, "catalog", "check", "--catalog", catalog, "--threads", 1]
        build = [options.pinnersage, "catalog", "build", "--pins", data.parquet, "--out", catalog,
                 "--embedding-version", "bench"]
        engines.append(Command("pinnersage", check, build, catalog))
    else:
        say(f"no {options.pinnersage}: pinnersage is left out")
    engines += [Peer(name, engine, data) for name, engine in PEERS.items()]
    return [engine for engine in engines if options.wants(engine.name)]


def run(data, options):
    """All engines on one data set: rows for the table, each with its best points."""
    engines = engines_for(data, options)
    for engine in engines:
        say(f"  {engine.name}: build")
        engine.build()
    for engine in engines:
        engine.start()
    best = {engine.name: {} for engine in engines}
    for number in range(options.rounds):
        for engine in engines:
            say(f"  round {number + 1} of {options.rounds}: {engine.name}")
            for k in DEPTHS:
                for point in engine.measure(k):
                    known = best[engine.name].get((k, point.width))
                    if known is None or point.queries_per_second > known.queries_per_second:
                        best[engine.name][k, point.width] = point
    for engine in engines:
        engine.stop()
    return [
        {
            "engine": engine.name,
            "build_wall_seconds": engine.cost and engine.cost.wall_seconds,
            "build_cpu_seconds": engine.cost and engine.cost.cpu_seconds,
            "bytes_per_pin": engine.bytes_per_pin,
            "points": [asdict(point) for point in best[engine.name].values()],
        }
        for engine in engines
    ]
