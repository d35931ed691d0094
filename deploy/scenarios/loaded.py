"""Scenarios with one server and much, or long, load."""

import collections
import itertools
import os
import random
import re
import shutil
import statistics
import time

import grpc

from harness import (
    CHANNEL, K6, SERVICE, Load, Process, Server, actions_api, actions_services, api, check, counted,
    health, services, until,
)

# A user of the sample with eight interests: eight searches, several milliseconds.
COSTLY = {"user_id": 2, "limit": 2000, "medoids": 20}
BUDGET = 0.1


def overload(kit, stack):
    """Three times what the server can do: it does as much as ever, and refuses the rest at once."""
    check(shutil.which("h2load"), "h2load is not installed (Debian: nghttp2-client)")
    # (seconds, goodput against the peak, share of other codes, ms of a shed call, ms of health)
    seconds, least, others, shed_ms, health_ms = (
        (30, 0.9, 0.01, 5, 50) if kit.long else (9, 0.7, 0.05, 20, 250)
    )
    server = stack.enter_context(Server(kit, kit.without_lists(), NEIGHBORS__CACHE="0B"))
    blast(kit, server, 1, "-c4", "-m2")
    peak_rate = blast(kit, server, seconds // 3, "-c4", "-m2")["OK"] / (seconds // 3)

    clients = 8
    rate = f"--rps={3 * peak_rate / clients:.1f}"
    with (
        Load(server.address, callers=1, pause=0.05, call=health) as prober,
        Load(server.address, callers=4, pause=0.05, timeout=BUDGET, **COSTLY) as sample,
    ):
        codes = blast(kit, server, seconds, f"-c{clients}", "-m256", rate)
    ended = time.monotonic()
    with grpc.insecure_channel(server.address, options=CHANNEL) as channel:
        stub = services.RecommendationServiceStub(channel)

        def plain():
            try:
                return not stub.Recommend(api.RecommendRequest(**COSTLY), timeout=1).degraded
            except grpc.RpcError:
                return False

        until("an undegraded answer after the load", plain, 1 if kit.long else 3)
    recovered = time.monotonic() - ended

    goodput = codes["OK"] / seconds / peak_rate
    odd = {code: n for code, n in codes.items() if code not in ("OK", "RESOURCE_EXHAUSTED")}
    report = (
        f"peak {peak_rate:.0f}/s; at three times that goodput {100 * goodput:.0f} % ({counted(codes)}), "
        f"accepted p50 {sample.p(0.5):.0f} p99 {sample.p(0.99):.0f} ms, shed p50 "
        f"{sample.p(0.5, 'RESOURCE_EXHAUSTED'):.1f} p99 {sample.p(0.99, 'RESOURCE_EXHAUSTED'):.1f} ms, "
        f"health p99 {prober.p(0.99):.1f} ms ({counted(prober.codes)}), well after {recovered:.2f} s"
    )
    check(goodput >= least, f"less than {least:.0%} of the peak: {report}")
    check(codes["RESOURCE_EXHAUSTED"] > codes["OK"] / 2, f"too little was shed: {report}")
    check(sum(odd.values()) <= others * sum(codes.values()), f"too many {counted(odd)}: {report}")
    # The sample's own clock stops at the budget, so late answers are DEADLINE_EXCEEDED there.
    late = sample.codes["DEADLINE_EXCEEDED"]
    check(late <= max(1, others * sample.total), f"{late} accepted calls were late: {report}")
    check(sample.p(0.99) <= 1e3 * BUDGET * (1 if kit.long else 1.5), f"accepted calls are slow: {report}")
    check(sample.p(0.5, "RESOURCE_EXHAUSTED") <= shed_ms, f"shedding is slow: {report}")
    check(prober.failed() == 0 and prober.p(0.99) <= health_ms, f"health suffered: {report}")
    return report


def blast(kit, server, seconds, *knobs):
    """Costly calls by h2load, which takes little of the CPU; what became of them by the server's
    count, since h2load knows nothing of gRPC."""
    body = api.RecommendRequest(**COSTLY).SerializeToString()
    file = kit.directory / "request"
    file.write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
    command = ["h2load", "-t1", f"--duration={seconds}", "-d", file, *knobs]
    for header in ("content-type: application/grpc", "te: trailers", f"grpc-timeout: {BUDGET * 1e3:.0f}m"):
        command += ["-H", header]
    before = server.codes()
    url = f"http://{server.address}/{SERVICE}/Recommend"
    with Process("h2load", [*command, url], kit.directory) as load:
        check(load.wait(seconds + 30) == 0, f"h2load failed: {load.log.read_text()}")
        started, done = re.search(r"(\d+) started, (\d+) done", load.log.read_text()).groups()
    # What h2load leaves behind when its time is over is canceled by itself.
    left = {"CANCELLED": int(started) - int(done)}
    return server.codes() - before - collections.Counter(left)


def soak(kit, stack):
    """Much load with writes and new versions: no call fails, and memory stays flat."""
    # (seconds, seconds between swaps, growth, bytes that an allocator may differ by)
    seconds, every, growth, slack = (600, 12.5, 0.05, 1e6) if kit.long else (32, 2.0, 0.1, 6e6)
    catalog, profiles = kit.build("versions")
    catalogs, profile_versions = [current(catalog)], [current(profiles)]
    kit.build_profiles(catalog, profiles, "2017-09-17")
    profile_versions.append(current(profiles))
    other, _ = kit.build("other", INDEX__SEED="2")
    catalogs.append(current(other))
    check(len({*catalogs}) == len({*profile_versions}) == 2, "the versions do not differ")
    shutil.copytree(other / catalogs[1], catalog / catalogs[1])
    shutil.copytree(other / "neighbors" / catalogs[1], catalog / "neighbors" / catalogs[1])

    settings = {"SERVE__WATCH": "300ms"}
    server = stack.enter_context(Server(kit, catalog, profiles, data=kit.directory / "data", **settings))
    closed = K6(kit, server.address, SCENARIO="closed", VUS=4, DURATION="3s")
    with closed:
        figures = closed.figures()
        rate = int(0.7 * figures["statuses"]["OK"] / figures["seconds"])
    # Few callers: k6 itself must not be what takes the machine away when it falls behind.
    knobs = {"SCENARIO": "steady", "RATE": rate, "DURATION": f"{seconds}s", "MAX_VUS": 32}
    load = stack.enter_context(K6(kit, server.address, **knobs))
    memory, files, begun, swaps = [], [], time.monotonic(), 0
    pairs = itertools.cycle(itertools.product(catalogs, profile_versions))
    with Load(server.address, callers=1, pause=0.1, call=recorder) as writer:
        while (now := time.monotonic() - begun) < seconds:
            check(server.alive(), "the server is gone")
            if now > swaps * every:
                swaps += 1
                for directory, version in zip((catalog, profiles), next(pairs), strict=True):
                    publish(directory, version)
            memory.append(server.memory())
            files.append(server.memory("File"))
            time.sleep(0.1)
    figures = load.figures(seconds + 30)
    # The last two quarters: in each the server went through all pairs of versions.
    quarter = len(memory) // 4
    early, late = statistics.median(memory[-2 * quarter:-quarter]), statistics.median(memory[-quarter:])
    changes = "pinnersage_version_changes_total"
    taken = sum(value for name, value in server.metrics().items() if name.startswith(changes))
    report = (
        f"{counted(figures['statuses'])} at {rate}/s ({figures['dropped']} more "
        f"not made), p99 {figures['accepted_ms']['p(99)']:.1f} ms; "
        f"{writer.total} writes of 50 actions, {taken:.0f} changes of versions; own memory "
        f"{early / 1e6:.1f} then {late / 1e6:.1f} MB, of files {statistics.median(files) / 1e6:.1f} MB"
    )
    check(set(figures["statuses"]) == {"OK"} and not writer.failed(), f"{counted(writer.codes)}: {report}")
    check(figures["statuses"]["OK"] > 0.5 * rate * seconds, f"too few calls were made: {report}")
    check(taken >= swaps / 2, f"published {swaps} times, but {report}")
    check(late <= (1 + growth) * early + slack, f"memory grows: {report}")
    return report


def current(directory):
    return (directory / "CURRENT").read_text().strip()


def publish(directory, version):
    """As the batch does it: CURRENT is replaced, never written to."""
    new = directory / "CURRENT.new"
    new.write_text(f"{version}\n")
    new.rename(directory / "CURRENT")


def recorder(channel):
    """For `Load`: fifty saves a call, all of which must be accepted. So many that the log fills
    its memory, and writes it out, again and again."""
    recommendations = services.RecommendationServiceStub(channel)
    actions = actions_services.ActionServiceStub(channel)
    answer = recommendations.Recommend(api.RecommendRequest(user_id=2))
    pins = [candidate.pin_id for candidate in answer.candidates]

    def call():
        request = actions_api.RecordActionsRequest()
        for _ in range(50):
            action = request.actions.add(
                action_id=os.urandom(16), user_id=random.randrange(300), pin_id=random.choice(pins),
                action="save",
            )
            action.time.GetCurrentTime()
        results = set(actions.RecordActions(request, timeout=2).results)
        check(results == {actions_api.ACTION_STATUS_ACCEPTED}, f"refused: {results}")

    return call


SCENARIOS = [overload, soak]
