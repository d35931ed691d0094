#!/usr/bin/env python3
"""Times how long a Python client takes to read an answer, in either `response_format`.

    tools/read_candidates.py [--server localhost:50051] [--user 6] [--limit 400] [--rounds 2000]

Asks a running server for one answer in each format. What is timed is from the bytes of an
answer to three NumPy arrays: pins, scores and places of medoids, which must be equal in both.
The formats take turns. Printed are the bytes, and medians in microseconds. Needs grpcio-tools
and numpy.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import grpc
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "proto"))
api, services = grpc.protos_and_services("pinnersage/v1/recommendation.proto")

METHOD = "/pinnersage.v1.RecommendationService/Recommend"


def from_messages(answer):
    """Arrays of the candidates, a message each: the quickest of the ways that were tried."""
    candidates = answer.candidates
    rows = [(one.pin_id, one.score, one.medoid_index) for one in candidates]
    pins, scores, medoids = zip(*rows) if rows else ((), (), ())
    return np.array(pins, np.uint64), np.array(scores, np.float32), np.array(medoids, np.uint32)


def from_columns(answer):
    """Arrays of the candidates, a list each."""
    columns = answer.columns
    return (
        np.array(columns.pin_ids, np.uint64),
        np.array(columns.scores, np.float32),
        np.array(columns.medoid_indices, np.uint32),
    )


READERS = {"MESSAGES": from_messages, "COLUMNS": from_columns}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", default="localhost:50051")
    parser.add_argument("--user", type=int, default=6)
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2000)
    args = parser.parse_args()

    with grpc.insecure_channel(args.server) as channel:
        ask = channel.unary_unary(METHOD)
        answers = {}
        for name in READERS:
            request = api.RecommendRequest(
                user_id=args.user, limit=args.limit, seed=1, response_format=f"RESPONSE_FORMAT_{name}",
            )
            answers[name] = ask(request.SerializeToString(), timeout=10)
    parse = api.RecommendResponse.FromString
    messages, columns = (read(parse(answers[name])) for name, read in READERS.items())
    assert all(map(np.array_equal, messages, columns)), "the formats hold different candidates"

    times = {name: ([], []) for name in READERS}
    for _ in range(args.rounds):
        for name, read in READERS.items():
            begun = time.perf_counter_ns()
            answer = parse(answers[name])
            parsed = time.perf_counter_ns()
            read(answer)
            ended = time.perf_counter_ns()
            times[name][0].append(parsed - begun)
            times[name][1].append(ended - parsed)
    print(f"{len(messages[0])} candidates, {args.rounds} rounds")
    for name, (parsing, reading) in times.items():
        parsing, reading = (statistics.median(taken) / 1000 for taken in (parsing, reading))
        print(f"{name:8} {len(answers[name]):6} bytes: parse {parsing:.1f} us + read {reading:.1f} us"
              f" = {parsing + reading:.1f} us")


if __name__ == "__main__":
    main()
