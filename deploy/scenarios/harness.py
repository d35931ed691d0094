"""Starts what the scenarios need, watches it, and kills it whatever happens."""

import collections
import contextlib
import copy
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

# Servers are started while callers run; their new processes do not speak gRPC by ours.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc  # noqa: E402
import yaml  # noqa: E402

CHECKOUT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CHECKOUT / "proto"))
api, services = grpc.protos_and_services("pinnersage/v1/recommendation.proto")
actions_api, actions_services = grpc.protos_and_services("pinnersage/v1/actions.proto")
admin_api, admin_services = grpc.protos_and_services("pinnersage/v1/admin.proto")
status_api = grpc.protos("google/rpc/status.proto")
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402

SERVICE = "pinnersage.v1.RecommendationService"
BIN = Path(sys.prefix) / "bin"
# A call that dies with its connection must be seen, not made again by the client; and
# two channels to one address must be two connections.
CHANNEL = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
# A line of a log that tells of an error: of a server, of a node of its log, or of a panic.
ERROR = re.compile(r" ERROR |\[ERR\]|panicked")
# An action has one of these once it counts.
ACKNOWLEDGED = (
    actions_api.ActionStatus.ACTION_STATUS_ACCEPTED, actions_api.ActionStatus.ACTION_STATUS_DUPLICATE,
)


class Failed(Exception):
    """What a scenario holds to be true is not."""


def check(truth, message):
    if not truth:
        raise Failed(message)


def until(what, condition, timeout=20, every=0.02):
    """Waits for the condition, and returns its value and how long it took."""
    begun = time.monotonic()
    while not (value := condition()):
        check(time.monotonic() - begun < timeout, f"not within {timeout} s: {what}")
        time.sleep(every)
    return value, time.monotonic() - begun


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


PORTS = iter(random.sample(range(20_000, 30_000), 10_000))


def free_port():
    """A port that the system gives to nobody by itself, so it can be used again after a restart."""
    for port in PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failed("no port is free")


def http(port, path, body=None):
    url = f"http://127.0.0.1:{port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=5) as answer:
        return answer.read().decode()


def answers(port, path):
    with contextlib.suppress(OSError, urllib.error.HTTPError):
        http(port, path)
        return True
    return False


def raise_file_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Process:
    """A program of ours, with its output in a file, and dead when the block ends."""

    def __init__(self, name, command, directory, env=None):
        self.log = directory / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                # Ctrl-C is for the harness, which then stops all in good order.
                start_new_session=True,
            )

    pid = property(lambda self: self.child.pid)

    def signal(self, number):
        self.child.send_signal(number)

    def alive(self):
        return self.child.poll() is None

    def wait(self, timeout=60):
        try:
            return self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.log.name}: still running after {timeout} s") from None

    def await_answer(self, port, path, timeout=30):
        def ready():
            check(self.alive(), f"{self.log.name}: ended before it was ready")
            return answers(port, path)

        return until(f"{self.log.name}: {path}", ready, timeout)[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def environment(settings):
    return {f"PINNERSAGE__{name}": value for name, value in settings.items()}


class Server(Process):
    """`pinnersage serve`, ready to answer."""

    def __init__(self, kit, catalog=None, profiles=None, port=None, data=None, binary=None, **settings):
        self.port, self.ops = port or free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [binary or kit.binary, "serve", "--catalog", catalog or kit.catalog]
        command += ["--profiles", profiles or kit.profiles, "--listen", self.address]
        command += ["--ops-listen", f"127.0.0.1:{self.ops}"] + (["--data", data] if data else [])
        super().__init__(f"server-{self.port}", command, kit.directory, environment(settings))
        try:
            self.await_answer(self.ops, "/readyz")
        except BaseException:
            self.__exit__()
            raise

    def metrics(self):
        """Values by name and labels, as they stand in /metrics."""
        found = re.findall(r"^(\w+(?:{.*})?) (\S+)$", http(self.ops, "/metrics"), re.MULTILINE)
        return {series: float(value) for series, value in found}

    def codes(self):
        """Calls of Recommend so far, by their code."""
        series = re.compile(rf'pinnersage_grpc_requests_total{{method="{SERVICE}/Recommend",code="(\w+)"}}')
        found = ((series.fullmatch(name), value) for name, value in self.metrics().items())
        return collections.Counter({match[1]: int(value) for match, value in found if match})

    def memory(self, kind="Anon"):
        """Resident bytes of its own, or of kind "File": those the system takes back by itself."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"Rss{kind}:\s+(\d+) kB", status)[1]) * 1024


class Envoy(Process):
    """Envoy with the configuration that is shipped, before these (address, stage, weight)."""

    def __init__(self, kit, endpoints, shadow=None, fleet=False):
        config = yaml.safe_load((CHECKOUT / "deploy/envoy/canary.yaml").read_text())
        # Failures alone are worth reading in a log of a scenario.
        runtime = config["layered_runtime"]["layers"][0]["static_layer"]
        runtime["pinnersage.access_log"] = 0
        self.admin = free_port()
        config["admin"]["address"]["socket_address"]["port_value"] = self.admin
        listeners = {listener["name"]: listener for listener in config["static_resources"]["listeners"]}
        clusters = {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}
        if fleet:
            # The options that the file has for servers which share a log.
            runtime["pinnersage.writes"] = 100
            clusters["pinnersage"]["lb_policy"] = "MAGLEV"
        ports = {name: free_port() for name in listeners}
        for name, listener in listeners.items():
            listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": ports[name]}
        self.port, self.stats = ports["grpc"], ports["stats"]
        self.address = f"127.0.0.1:{self.port}"

        def place(cluster, chosen):
            [group] = clusters[cluster]["load_assignment"]["endpoints"]
            template = group["lb_endpoints"][0]
            group["lb_endpoints"] = []
            for address, stage, weight in chosen:
                host, port = address.split(":")
                endpoint = copy.deepcopy(template)
                where = endpoint["endpoint"]["address"]["socket_address"]
                where.update(address=host, port_value=int(port))
                if stage:
                    endpoint["load_balancing_weight"] = weight
                    endpoint["metadata"]["filter_metadata"]["envoy.lb"]["stage"] = stage
                group["lb_endpoints"].append(endpoint)

        place("pinnersage", endpoints)
        place("shadow", [(shadow or endpoints[0][0], None, None)])
        place("admin", [(f"127.0.0.1:{self.admin}", None, None)])
        file = kit.directory / f"envoy-{self.port}.json"
        file.write_text(json.dumps(config))
        command = [BIN / "envoy", "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "warn"]
        super().__init__(f"envoy-{self.port}", command, kit.directory)
        try:
            self.await_answer(self.stats, "/ready")
            until("healthy hosts", lambda: all(not flags for flags in self.hosts().values()))
        except BaseException:
            self.__exit__()
            raise

    def _hosts(self):
        clusters = json.loads(http(self.admin, "/clusters?format=json"))["cluster_statuses"]
        [cluster] = [c for c in clusters if c["name"] == "pinnersage"]
        for host in cluster.get("host_statuses", []):
            where = host["address"]["socket_address"]
            yield f"{where['address']}:{where['port_value']}", host

    def hosts(self):
        """What speaks against each host; nothing while it is in rotation."""
        flags = ("failed_active_health_check", "failed_outlier_check", "pending_active_hc")
        return {
            address: [flag for flag in flags if host["health_status"].get(flag)]
            for address, host in self._hosts()
        }

    def requests(self):
        """Calls that each host was sent so far, retries included."""
        return {
            address: sum(int(s.get("value", 0)) for s in host["stats"] if s["name"] == "rq_total")
            for address, host in self._hosts()
        }

    def stat(self, name):
        line = http(self.admin, f"/stats?filter=^{re.escape(name)}$").strip()
        return int(line.split(": ")[1]) if line else 0

    def retries(self):
        return self.stat("cluster.pinnersage.upstream_rq_retry")

    def ejections(self):
        return self.stat("cluster.pinnersage.outlier_detection.ejections_enforced_total")

    def restart(self, server, start):
        """Stops a server in order, and starts another one at its address, under the eyes of Envoy.
        Returns that, and how long the old one took to end."""
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        until("Envoy turns away", lambda: self.hosts()[server.address])
        code = server.wait()
        check(code == 0, f"{server.log.name}: ended with {code}")
        took, new = time.monotonic() - begun, start(port=server.port)
        until("Envoy takes it back", lambda: not self.hosts()[new.address], 40)
        return new, took

    def set_runtime(self, key, value):
        http(self.admin, f"/runtime_modify?{key}={value}", body=b"")


class K6(Process):
    """deploy/k6/recommend.js with these knobs."""

    def __init__(self, kit, target, **knobs):
        self.summary = kit.directory / f"k6-{time.monotonic_ns()}.json"
        knobs = {"TARGET": target, "SUMMARY": self.summary, **knobs}
        command = [BIN / "k6", "run", "--quiet", "--no-usage-report", "--address", ""]
        for name, value in knobs.items():
            command += ["-e", f"{name}={value}"]
        super().__init__("k6", [*command, CHECKOUT / "deploy/k6/recommend.js"], kit.directory)

    def figures(self, timeout=900):
        """Its summary, once it has ended. Its exit code says less."""
        self.wait(timeout)
        check(self.summary.exists(), f"{self.log.name}: k6 wrote no summary")
        return json.loads(self.summary.read_text())


class Callers:
    """Threads that call until the block ends."""

    def __init__(self, jobs):
        """A job is a function, which looks at `_stop`, and its arguments."""
        self._stop, self._ended = threading.Event(), []
        self._threads = [threading.Thread(target=self._guard, args=job) for job in jobs]

    def _guard(self, job, *arguments):
        try:
            job(*arguments)
        except Exception:  # A thread that ends by itself must fail the scenario.
            self._ended.append(traceback.format_exc())

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        check(kind or not self._ended, f"callers that ended by themselves: {self._ended}")


class Load(Callers):
    """Callers in threads, each with a connection of its own, until the block ends."""

    def __init__(self, address, callers=4, timeout=1.0, pause=0.0, call=None, **request):
        super().__init__([(self._run, address)] * callers)
        self.codes = collections.Counter()
        self.latencies, self.notes = [], []
        self._request = {"user_id": 2, **request}
        self._call, self._timeout, self._pause = call or self._recommend, timeout, pause

    def _recommend(self, channel):
        stub = services.RecommendationServiceStub(channel)
        return lambda: stub.Recommend(api.RecommendRequest(**self._request), timeout=self._timeout)

    def _run(self, address):
        with grpc.insecure_channel(address, options=CHANNEL) as channel:
            call = self._call(channel)
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    call()
                    code = "OK"
                except grpc.RpcError as error:
                    code = error.code().name
                    self.notes.append(f"{code}: {error.details()}")
                except Failed as error:
                    code = "FAILED"
                    self.notes.append(str(error))
                took = time.monotonic() - begun
                self.latencies.append((code, took))
                self.codes[code] += 1
                self._stop.wait(max(0.0, self._pause - took))

    total = property(lambda self: sum(self.codes.values()))

    def failed(self):
        return self.total - self.codes["OK"]

    def p(self, share, code="OK"):
        """A quantile in milliseconds, of the calls that ended so."""
        return 1e3 * quantile([took for ended, took in self.latencies if ended == code], share)

    def more(self, calls, timeout=30):
        """Waits for so many calls from now on."""
        goal = self.total + calls
        until(f"{calls} more calls", lambda: self.total >= goal, timeout)

    def __exit__(self, kind, *_):
        super().__exit__(kind)
        check(kind or self.total, "the callers made no call")


def health(channel):
    """For `Load`: calls of the health service."""
    stub = health_pb2_grpc.HealthStub(channel)

    def call():
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=1)
        check(answer.status == health_pb2.HealthCheckResponse.SERVING, "NOT_SERVING under load")

    return call


def counted(codes):
    return ", ".join(f"{count} {code}" for code, count in sorted(codes.items())) or "none"


class Kit:
    """What all scenarios share: the binaries, the data, a directory for logs."""

    def __init__(self, chosen, directory):
        self.binary, self.planted = chosen.binary, chosen.planted
        self.long, self.directory = chosen.long, directory
        self.catalog, self.profiles = chosen.catalog, chosen.profiles
        if self.catalog is None:
            self.catalog, self.profiles = self.build("sample")

    def build(self, name, as_of="2017-10-01", **settings):
        """A catalog and profiles of the sample."""
        pins = CHECKOUT / "examples/complete-journey/pins.parquet"
        catalog, profiles = self.directory / name / "catalog", self.directory / name / "profiles"
        self.pinnersage("catalog", "build", "--pins", pins, "--out", catalog, **settings)
        self.build_profiles(catalog, profiles, as_of)
        return catalog, profiles

    def build_profiles(self, catalog, profiles, as_of):
        actions = CHECKOUT / "examples/complete-journey/actions_300_users.parquet"
        build = ["profiles", "build", "--actions", actions, "--catalog", catalog, "--out", profiles]
        self.pinnersage(*build, "--as-of", as_of, "--history-filter", "off")

    def pinnersage(self, *arguments, **settings):
        command = [self.binary, *arguments]
        with Process("command", command, self.directory, environment(settings)) as command:
            check(command.wait(300) == 0, f"{command.log.name}: {command.log.read_text()}")

    def without_lists(self):
        """A copy of the catalog in which every medoid must be searched for."""
        target = self.directory / "without-lists"
        if not target.exists():
            shutil.copytree(self.catalog, target, ignore=shutil.ignore_patterns("neighbors"))
        return target


def run_all(scenarios, chosen):
    """Runs them one after the other, and tells how many failed."""
    def terminated(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    raise_file_limit()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="pinnersage-scenarios-") as temporary:
        shared = Path(temporary)
        kit = Kit(chosen, shared)
        for name, scenario in scenarios.items():
            # The short form runs where others work too: what fails there may try again.
            for attempt in range(1 if chosen.long else 2):
                kit.directory = shared / f"{name}-{attempt}"
                kit.directory.mkdir()
                passed = run_one(name, scenario, kit)
                if passed:
                    break
            failures += not passed
    return min(failures, 1)


def run_one(name, scenario, kit):
    """Runs one, prints what came of it, and tells whether it passed."""
    begun = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            outcome = "ok  ", scenario(kit, stack)
    except KeyboardInterrupt:
        sys.exit(f"stopped in {name}")
    except Exception as error:
        known = isinstance(error, (Failed, grpc.RpcError))
        outcome = "FAIL", str(error) if known else traceback.format_exc()
    print(f"{outcome[0]} {name:17}{time.monotonic() - begun:6.1f} s  {outcome[1]}", flush=True)
    passed = outcome[0] != "FAIL"
    if not passed:
        show_logs(kit.directory)
    return passed


def show_logs(directory):
    """The end of each log, and the last errors before: what ends last says much of what ended first."""
    for log in sorted(directory.rglob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        if errors := list(filter(ERROR.search, lines[:-8]))[-8:]:
            print(f"--- {log.name}, errors before", *errors, sep="\n    ", flush=True)
        print(f"--- {log.name}, last lines", *lines[-8:], sep="\n    ", flush=True)
