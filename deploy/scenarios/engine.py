"""Three nodes of NATS JetStream, which share the log of several replicas, and what can happen to them."""

import contextlib
import itertools
import json
import signal
import socket
import subprocess

from harness import BIN, Failed, Process, check, free_port, http, until

STREAMS = 3


class Node(Process):
    """`nats-server`, with its messages in a directory that outlives it."""

    def __init__(self, engine, name):
        self.name = name
        self.monitor = engine.ports[name]["monitor"]
        command = [BIN / "nats-server", "-c", engine.directory / f"{name}.conf"]
        super().__init__(name, command, engine.directory)

    def healthy(self):
        """Whether it has its place in the cluster, and all that it keeps is up to date."""
        with contextlib.suppress(OSError):
            return json.loads(http(self.monitor, "/healthz"))["status"] == "ok"


class Engine:
    """The nodes, by name; `node-0` and so on."""

    def __init__(self, kit, stack, count=3):
        self._stack, self.directory = stack, kit.directory / "engine"
        # How long a node goes on for its callers once it is told to stop. The kit ships 5s.
        self._grace = "5s" if kit.long else "1s"
        self.directory.mkdir()
        names = [f"node-{number}" for number in range(count)]
        self.ports = {n: {part: free_port() for part in ("client", "route", "monitor")} for n in names}
        for name in names:
            self._configure(name)
        self.nodes = {name: self._start(name) for name in names}
        until("all nodes of the engine", self.healthy, 60)

    url = property(lambda self: ",".join(f"nats://127.0.0.1:{p['client']}" for p in self.ports.values()))

    def _configure(self, name):
        ports = self.ports[name]
        routes = ", ".join(f'"nats://127.0.0.1:{p["route"]}"' for p in self.ports.values())
        (self.directory / f"{name}.conf").write_text(
            f'server_name: {name}\n'
            f'listen: "127.0.0.1:{ports["client"]}"\n'
            f'http: "127.0.0.1:{ports["monitor"]}"\n'
            # What is acknowledged is on the disks of a majority, as the kit ships it.
            f'jetstream {{ store_dir: "{self.directory / name}", sync_interval: always }}\n'
            f'lame_duck_grace_period: {self._grace}\n'
            'lame_duck_duration: 30s\n'
            f'cluster {{ name: scenario, listen: "127.0.0.1:{ports["route"]}", routes: [{routes}] }}\n'
        )

    def _start(self, name):
        return self._stack.enter_context(Node(self, name))

    def healthy(self):
        return all(node.alive() and node.healthy() for node in self.nodes.values())

    def streams(self):
        """The leader of each stream by name, as a node that is up says it; none where it has none."""
        for node in self.nodes.values():
            if not node.healthy():
                continue
            # A node that dies at this moment is asked no more.
            with contextlib.suppress(OSError, KeyError, IndexError):
                told = json.loads(http(node.monitor, "/jsz?accounts=true&streams=true"))
                streams = told["account_details"][0]["stream_detail"]
                return {stream["name"]: stream["cluster"].get("leader") for stream in streams}
        return {}

    def settled(self):
        """Whether all nodes are well, and all streams have a leader."""
        leaders = self.streams() if self.healthy() else {}
        return len(leaders) == STREAMS + 1 and all(leaders.values())

    def await_settled(self):
        return until("an engine that is well", self.settled, 90)[1]

    def spread(self):
        """Gives each stream a leader on a node of its own, as `nats stream cluster balance` does:
        a node that comes back leads nothing by itself."""
        wanted = dict(zip(sorted(self.streams()), itertools.cycle(self.nodes)))

        def is_spread():
            leaders = self.streams()
            for stream in wanted:
                # A stream without a leader elects one first.
                if leaders.get(stream) not in (None, wanted[stream]):
                    wish = json.dumps({"placement": {"preferred": wanted[stream]}})
                    # Replicas spread leaders as well. One that changes at this moment does not answer.
                    with contextlib.suppress(TimeoutError):
                        self._request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", wish)
            return leaders == wanted

        until("leaders that are spread", is_spread, 60, every=0.3)

    def _request(self, subject, body):
        """Asks the first node for something, and returns what it says."""
        port = next(iter(self.ports.values()))["client"]
        with socket.create_connection(("127.0.0.1", port), timeout=2) as peer, peer.makefile("rb") as told:
            peer.sendall(
                b'CONNECT {"verbose": false}\r\nSUB answer 1\r\n'
                + f"PUB {subject} answer {len(body)}\r\n{body}\r\n".encode()
            )
            while line := told.readline():
                if line.startswith(b"MSG"):
                    return json.loads(told.read(int(line.split()[-1])))
                check(not line.startswith(b"-ERR"), f"the engine says {line}")
        raise Failed(f"no answer to {subject}")

    def leader(self, stream):
        return until(f"a leader of {stream}", lambda: self.streams().get(stream), 30)[0]

    def follower(self, stream):
        """A node that leads nothing, or at least not this stream."""
        others = self.nodes.keys() - {self.leader(stream)}
        return min(sorted(others), key=list(self.streams().values()).count)

    def kill(self, name):
        self.nodes[name].signal(signal.SIGKILL)
        self.nodes[name].wait()

    def stop_in_order(self, name):
        """It hands over what it leads, sends its callers away one by one, and ends."""
        node = self.nodes[name]
        tell = [BIN / "nats-server", "--signal", f"ldm={node.pid}"]
        check(subprocess.run(tell, check=False).returncode == 0, f"{name} cannot be told to stop")
        code = node.wait()
        check(code == 0, f"{node.log.name}: ended with {code}")

    def start(self, name):
        self.nodes[name] = self._start(name)

    def freeze(self, name):
        self.nodes[name].signal(signal.SIGSTOP)

    def thaw(self, name):
        self.nodes[name].signal(signal.SIGCONT)
