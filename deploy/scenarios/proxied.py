"""Scenarios with servers behind Envoy, configured by deploy/envoy/canary.yaml."""

import collections
import contextlib
import math
import signal
import socket
import time
from concurrent import futures

import grpc
import h2.config
import h2.connection
import h2.events
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from harness import (
    CHANNEL, K6, SERVICE, Envoy, Load, Server, api, check, counted, free_port, http, services,
    status_api, until,
)


def canary(kit, stack):
    """A weighted canary, forced, mirrored, killed under load, and back: no call fails."""
    stable, risky, shadow = (stack.enter_context(Server(kit)) for _ in range(3))
    endpoints = [(stable.address, "stable", 90), (risky.address, "canary", 10)]
    envoy = stack.enter_context(Envoy(kit, endpoints, shadow.address))

    calls, share = 2000, 0.1
    got = spread(envoy, calls)[risky.address]
    # Five standard deviations: a sound split is outside once in two million runs.
    slack = 5 * math.sqrt(calls * share * (1 - share))
    check(abs(got - calls * share) < slack, f"the canary got {got} of {calls} calls")
    forced = spread(envoy, 200, ("x-pinnersage-stage", "canary"))
    check(forced == {stable.address: 0, risky.address: 200}, f"forced to the canary: {forced}")

    check(not shadow.codes(), f"the shadow got calls: {shadow.codes()}")
    envoy.set_runtime("pinnersage.mirror", 100)
    spread(envoy, 100)
    until("100 mirrored calls", lambda: shadow.codes()["OK"] == 100)
    envoy.set_runtime("pinnersage.mirror", 0)

    with Load(envoy.address) as load:
        load.more(500)
        risky.signal(signal.SIGKILL)
        risky.wait()
        killed = time.monotonic()
        until("Envoy sees the canary dead", lambda: envoy.hosts()[risky.address])
        noticed = time.monotonic() - killed
        load.more(2000)
        back = stack.enter_context(Server(kit, port=risky.port))
        before = envoy.requests()[risky.address]
        _, again = until("calls for the new canary", lambda: envoy.requests()[back.address] > before + 20)
    check(load.failed() == 0, f"failed: {counted(load.codes)}: {load.notes[:3]}")
    ops = http(envoy.stats, "/stats/prometheus")
    check("envoy_cluster_upstream_rq_retry_success" in ops, "no metrics at the listener `stats`")
    return (
        f"{got} of {calls} calls to the canary, forced 200 of 200, mirrored 100 of 100; killed: "
        f"0 of {load.total} calls failed, {envoy.retries()} retries, noticed in {noticed:.1f} s, "
        f"back in {again:.1f} s"
    )


def spread(envoy, calls, *metadata):
    """Where these calls went. All of them must succeed."""
    before = envoy.requests()
    with grpc.insecure_channel(envoy.address, options=CHANNEL) as channel:
        stub = services.RecommendationServiceStub(channel)
        for _ in range(calls):
            stub.Recommend(api.RecommendRequest(user_id=2), timeout=1, metadata=metadata)
    return {host: count - before[host] for host, count in envoy.requests().items()}


def ejection(kit, stack):
    """A host that hangs is taken out, calls go on, and it comes back."""
    servers = [stack.enter_context(Server(kit)) for _ in range(3)]
    envoy = stack.enter_context(Envoy(kit, [(s.address, "stable", 1) for s in servers]))
    sick = servers[1]
    with Load(envoy.address, callers=6) as load:
        load.more(300)
        calm = load.p(0.99)
        sick.signal(signal.SIGSTOP)
        flags, noticed = until("Envoy takes the sick host out", lambda: envoy.hosts()[sick.address])
        # Calls that were under way on it end with their deadline, of a second.
        time.sleep(1.1)
        failed, place = load.failed(), len(load.latencies)
        load.more(300)
        after = [1e3 * took for _, took in load.latencies[place:]]
        check(load.failed() == failed, f"calls failed after it was out: {load.notes[-3:]}")
        sick.signal(signal.SIGCONT)
        _, healed = until("Envoy takes it back", lambda: not envoy.hosts()[sick.address], 40)
        before = envoy.requests()[sick.address]
        until("calls for it", lambda: envoy.requests()[sick.address] > before + 20)
    # An answer that had begun when the host stopped cannot be asked for again.
    check(failed <= 2, f"{failed} calls failed before it was out: {load.notes[:3]}")
    return (
        f"out in {noticed:.1f} s ({' and '.join(flags)}), back in {healed:.1f} s; {failed} of "
        f"{load.total} calls failed, {envoy.retries()} retries; p99 {calm:.1f} ms before, "
        f"{sorted(after)[int(len(after) * 0.99)]:.1f} ms when it was out"
    )


def shedding(kit, stack):
    """A host that sheds is neither ejected nor retried, and other callers are served."""
    settings = {"RATE_LIMIT": "5", "RATE_BURST": "10", "RATE_KEY_HEADER": "x-caller"}
    settings = {f"OVERLOAD__{name}": value for name, value in settings.items()}
    servers = [stack.enter_context(Server(kit, **settings)) for _ in range(2)]
    envoy = stack.enter_context(Envoy(kit, [(s.address, "stable", 1) for s in servers]))
    codes = collections.Counter()
    with grpc.insecure_channel(envoy.address, options=CHANNEL) as channel:
        stub = services.RecommendationServiceStub(channel)
        for _ in range(300):
            try:
                stub.Recommend(api.RecommendRequest(user_id=2), timeout=1, metadata=[("x-caller", "greedy")])
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1
                told = dict(error.trailing_metadata()).get("grpc-status-details-bin", b"")
                kinds = [detail.type_url for detail in status_api.Status.FromString(told).details]
                check(any("RetryInfo" in kind for kind in kinds), f"no RetryInfo, but {kinds}")
        for number in range(20):
            caller = ("x-caller", f"modest-{number}")
            stub.Recommend(api.RecommendRequest(user_id=2), timeout=1, metadata=[caller])
    check(set(codes) == {"OK", "RESOURCE_EXHAUSTED"}, f"statuses: {counted(codes)}")
    check(codes["RESOURCE_EXHAUSTED"] > 200, f"hardly anything was shed: {counted(codes)}")
    check(envoy.ejections() == 0 and not any(envoy.hosts().values()), f"ejected: {envoy.hosts()}")
    check(envoy.retries() == 0, f"{envoy.retries()} shed calls were retried")
    return f"{counted(codes)}, 20 of 20 other callers served, 0 retries, 0 ejections"


@contextlib.contextmanager
def impostor(code):
    """A server that calls itself healthy and answers every call with this code."""
    calls = []

    class Answer(grpc.GenericRpcHandler):
        def service(self, details):
            if not details.method.startswith(f"/{SERVICE}/"):
                return None

            def fail(_, context):
                calls.append(details.method)
                context.abort(code, "from the impostor")

            return grpc.unary_unary_rpc_method_handler(fail)

    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Answer()])
    servicer = health.HealthServicer()
    servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{free_port()}"
    server.add_insecure_port(address)
    server.start()
    try:
        yield address, calls
    finally:
        server.stop(0).wait()


def retry(kit, stack):
    """What one host cannot answer another does: UNAVAILABLE never reaches the caller."""
    server = stack.enter_context(Server(kit))
    address, calls = stack.enter_context(impostor(grpc.StatusCode.UNAVAILABLE))
    envoy = stack.enter_context(Envoy(kit, [(server.address, "stable", 90), (address, "canary", 10)]))
    with Load(envoy.address, callers=2) as load:
        load.more(1000)
    check(load.failed() == 0, f"failed: {counted(load.codes)}: {load.notes[:3]}")
    check(len(calls) >= 5, f"only {len(calls)} calls met the sick host")
    check(envoy.ejections() >= 1, "a host that failed all calls was not ejected")
    return (
        f"0 of {load.total} calls failed; the sick host got {len(calls)}, {envoy.retries()} retries, "
        f"ejected {envoy.ejections()} times"
    )


def deadline(kit, stack):
    """Short deadlines end in less effort, OUT_OF_TIME or DEADLINE_EXCEEDED, and no host is ejected for it."""
    catalog = kit.without_lists()
    servers = [stack.enter_context(Server(kit, catalog, NEIGHBORS__CACHE="0B")) for _ in range(2)]
    envoy = stack.enter_context(Envoy(kit, [(s.address, "stable", 1) for s in servers]))
    request = api.RecommendRequest(user_id=2, limit=2000, medoids=20)
    seen = collections.Counter()
    with RawClient(envoy.port) as client:
        for number in range(400 if kit.long else 200):
            # From too little to sometimes enough: there are 8 searches of about 1 ms.
            status, answer = client.recommend(request, f"{2 + number % 4}m")
            if status != grpc.StatusCode.OK:
                seen[status.name] += 1
            elif answer.degraded:
                seen[api.DegradedReason.Name(answer.degraded_reason)] += 1
            else:
                seen["OK"] += 1
    known = {"OK", "DEADLINE_EXCEEDED", "DEGRADED_REASON_OUT_OF_TIME", "DEGRADED_REASON_LESS_EFFORT"}
    bad = set(seen) - known
    check(not bad, f"answers: {counted(seen)}")
    check(seen["DEADLINE_EXCEEDED"] + seen["DEGRADED_REASON_OUT_OF_TIME"] > 0, "no deadline was felt")
    check(envoy.ejections() == 0 and not any(envoy.hosts().values()), f"ejected: {envoy.hosts()}")
    spread(envoy, 20)
    return f"{counted(seen)}; 0 ejections"


# Python has no name for it (clock_gettime(2)).
MONOTONIC_COARSE = 6


class RawClient:
    """A gRPC client that sends grpc-timeout and has no clock of its own, so that it sees
    what Envoy and the server answer. One call at a time."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(2**30)

    def recommend(self, request, timeout):
        stream, body = self._h2.get_next_available_stream_id(), request.SerializeToString()
        headers = {
            ":method": "POST", ":scheme": "http", ":authority": "scenario",
            ":path": f"/{SERVICE}/Recommend", "te": "trailers",
            "content-type": "application/grpc", "grpc-timeout": timeout,
        }
        begun = time.monotonic()
        self._h2.send_headers(stream, list(headers.items()))
        self._h2.send_data(stream, b"\0" + len(body).to_bytes(4, "big") + body, end_stream=True)
        status, answer, ended = None, b"", False
        while not ended:
            self._socket.sendall(self._h2.data_to_send())
            received = self._socket.recv(65536)
            check(received, "the connection was closed")
            for event in self._h2.receive_data(received):
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    status = dict(event.headers).get("grpc-status", status)
                elif isinstance(event, h2.events.DataReceived):
                    answer += event.data
                    self._h2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamReset):
                    # Envoy's clock ran out amid the answer. A client with a clock of its own
                    # calls that DEADLINE_EXCEEDED. Envoy's timers take whole milliseconds of the
                    # system's coarse clock, which is late by up to a tick, so they end too early.
                    least = (int(timeout[:-1]) - 1) / 1e3 - time.clock_getres(MONOTONIC_COARSE)
                    check(time.monotonic() - begun >= least, "reset before its time")
                    return grpc.StatusCode.DEADLINE_EXCEEDED, None
                elif isinstance(event, h2.events.StreamEnded):
                    ended = True
        codes = {str(code.value[0]): code for code in grpc.StatusCode}
        check(status in codes, f"no grpc-status, but {status}")
        return codes[status], api.RecommendResponse.FromString(answer[5:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()


def rolling(kit, stack):
    """Two servers are restarted in turn under load: no call fails."""
    rounds, rate = (5, 400) if kit.long else (2, 200)
    settings = {"SERVE__DRAIN_DELAY": "5s" if kit.long else "2s"}
    servers = [stack.enter_context(Server(kit, **settings)) for _ in range(2)]
    envoy = stack.enter_context(Envoy(kit, [(s.address, "stable", 1) for s in servers]))
    seconds = rounds * 2 * (10 if kit.long else 7) + 4
    knobs = {"SCENARIO": "steady", "RATE": rate, "DURATION": f"{seconds}s"}
    load = stack.enter_context(K6(kit, envoy.address, **knobs))
    until("load", lambda: all(count > rate for count in envoy.requests().values()))
    stops = []
    start = lambda **more: stack.enter_context(Server(kit, **settings, **more))
    for place in [0, 1] * rounds:
        servers[place], took = envoy.restart(servers[place], start)
        stops.append(took)
    check(load.alive(), "the restarts outlasted the load; allow more seconds")
    figures = load.figures(seconds + 30)
    statuses = figures["statuses"]
    check(set(statuses) == {"OK"}, f"{counted(statuses)}; {envoy.retries()} retries")
    check(statuses["OK"] + figures["dropped"] >= 0.95 * rate * seconds, f"too few calls: {figures}")
    return (
        f"{counted(statuses)} in {seconds} s with {len(stops)} restarts, each drained in "
        f"{max(stops):.1f} s at most; {envoy.retries()} retries, {envoy.ejections()} ejections, "
        f"p99 {figures['accepted_ms']['p(99)']:.1f} ms"
    )


SCENARIOS = [canary, ejection, shedding, retry, deadline, rolling]
