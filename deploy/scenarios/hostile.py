"""A scenario with callers that mean no good: bytes by hand, from a process of its own."""

import json
import random
import selectors
import socket
import struct
import sys
import time

import grpc

from harness import (
    CHANNEL, SERVICE, Load, Process, Server, api, check, counted, health, raise_file_limit, services,
    until,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
ACK = END_STREAM = 0x1
END_HEADERS, CANCEL = 0x4, 8


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name, value):
    """A header that no table keeps, so that a block of them fits any stream. Under 127 bytes each."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


OPENING = PREFACE + frame(SETTINGS)
# Begins the question whether somebody is there; whoever does not answer is closed, rightly.
ASKED = frame(PING, payload=bytes(8))[:9]
CALL = b"".join(
    header(name, value)
    for name, value in {
        ":method": "POST", ":scheme": "http", ":authority": "hostile",
        ":path": f"/{SERVICE}/Recommend", "te": "trailers", "content-type": "application/grpc",
    }.items()
)
COSTLY = api.RecommendRequest(user_id=2, limit=2000, medoids=20).SerializeToString()
MESSAGE = b"\0" + struct.pack(">I", len(COSTLY)) + COSTLY


def connect(port):
    peer = socket.create_connection(("127.0.0.1", port), timeout=5)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def send(peer, data):
    """Whether the peer still takes it."""
    try:
        peer.sendall(data)
        return True
    except OSError:
        return False


def closed(peer, timeout=5.0):
    """Whether the peer ends the connection within that time."""
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        peer.settimeout(left)
        try:
            if not peer.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def count_closed(peers, seconds, meanwhile=lambda: None):
    """How many of the connections the server ends within that time."""
    watch, end, gone = selectors.DefaultSelector(), time.monotonic() + seconds, 0
    for peer in peers:
        peer.setblocking(False)
        watch.register(peer, selectors.EVENT_READ)
    while watch.get_map() and time.monotonic() < end:
        for key, _ in watch.select(0.2):
            try:
                received = key.fileobj.recv(65536)
            except OSError:
                received = b""
            if received[-17:-8] == ASKED:
                send(key.fileobj, frame(PING, ACK, 0, received[-8:]))
            if not received:
                watch.unregister(key.fileobj)
                gone += 1
        meanwhile()
    return gone


def slow_loris(port, long):
    """Connections that never finish saying hello."""
    count = 2000 if long else 200
    peers, sent = [connect(port) for _ in range(count)], []

    def drip():
        if len(sent) < len(PREFACE) - 1 and (not sent or time.monotonic() - sent[-1] >= 1):
            byte = PREFACE[len(sent):len(sent) + 1]
            sent.append(time.monotonic())
            for peer in peers:
                send(peer, byte)

    return {"connections": count, "closed": count_closed(peers, 9, drip)}


def idle(port, long):
    """Connections that say hello and then nothing."""
    count, peers = (10_000 if long else 2000), []
    for _ in range(count):
        peers.append(connect(port))
        send(peers[-1], OPENING)
    return {"connections": count, "closed": count_closed(peers, 20 if long else 4)}


def oversized(port, long):
    """Messages of 5 MiB by a client in good order, and such that claim 4 GiB and ignore windows."""
    count, refused = (50 if long else 10), 0
    message = api.RecommendRequest(user_id=2, exclude_pin_ids=range(5 * 2**20 // 8))
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL) as channel:
        for _ in range(count // 2):
            try:
                services.RecommendationServiceStub(channel).Recommend(message, timeout=5)
            except grpc.RpcError as error:
                refused += error.code() is grpc.StatusCode.OUT_OF_RANGE
    part = frame(DATA, 0, 1, bytes(16_000))
    for _ in range(count // 2):
        with connect(port) as peer:
            kept = send(peer, OPENING + frame(HEADERS, END_HEADERS, 1, CALL))
            kept = kept and send(peer, frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"))
            for _ in range(1000):
                kept = kept and send(peer, part)
            refused += closed(peer, 1) or not kept
    return {"messages": count, "refused": refused}


def garbage(port, long):
    """Random bytes, before and after the preface."""
    count, ended = (2000 if long else 300), 0
    dice = random.Random(7)
    for number in range(count):
        with connect(port) as peer:
            send(peer, (OPENING if number % 2 else b"") + dice.randbytes(dice.randrange(64, 20_000)))
            ended += closed(peer, 2)
    return {"connections": count, "closed": ended}


def header_flood(port, long):
    """Header lists without end: in CONTINUATION frames, and in one block of small headers."""
    count, ended, sent = (100 if long else 10), 0, 0
    part = b"".join(header(f"x-{number}", "v" * 100) for number in range(140))
    for _ in range(count):
        with connect(port) as peer:
            kept = send(peer, OPENING + frame(HEADERS, END_STREAM, 1, CALL))
            for _ in range(4096):
                kept = kept and send(peer, frame(CONTINUATION, 0, 1, part))
                sent += len(part) * kept
            ended += closed(peer, 2) or not kept
    return {"connections": count, "ended": ended, "kB taken": sent // 1000}


def rapid_reset(port, long):
    """Calls that are canceled as soon as they are made."""
    connections, each, taken, ended = (200 if long else 20), 5000, 0, 0
    for _ in range(connections):
        with connect(port) as peer:
            kept = send(peer, OPENING)
            for first in range(1, 2 * each, 200):
                burst = b"".join(
                    frame(HEADERS, END_HEADERS, stream, CALL)
                    + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
                    for stream in range(first, first + 200, 2)
                )
                kept = kept and send(peer, burst)
                taken += 100 * kept
            ended += closed(peer, 0.5) or not kept
    return {"connections": connections, "ended": ended, "calls taken": taken}


def canceled(port, long):
    """Costly calls that are canceled when the server has begun with them."""
    count, stream = (5000 if long else 500), -1
    peer = connect(port)
    send(peer, OPENING)
    for _ in range(count):
        stream += 2
        call = frame(HEADERS, END_HEADERS, stream, CALL) + frame(DATA, END_STREAM, stream, MESSAGE)
        if not send(peer, call):
            peer = connect(port)
            stream = -1
            send(peer, OPENING)
            continue
        time.sleep(0.003)
        send(peer, frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
    return {"calls": count}


ATTACKS = [slow_loris, idle, oversized, garbage, header_flood, rapid_reset, canceled]


def hostile(kit, stack):
    """Broken, slow and malicious connections: others are served on, and nothing is left behind."""
    # Calls must cost something, or they are answered before they can be canceled.
    server = stack.enter_context(Server(kit, kit.without_lists(), NEIGHBORS__CACHE="0B"))
    with Load(server.address, callers=1, pause=0.005) as calm:
        calm.more(600)
    before = server.memory()
    figures, wrong, peak = [f"calm p99 {calm.p(0.99):.1f} ms"], [], before
    # The attacker has one of two cores. Long runs have a machine of their own.
    bound = max(10 * calm.p(0.99), 30 if kit.long else 150)
    for attack in ATTACKS:
        command = [sys.executable, __file__, attack.__name__, server.port, int(kit.long)]
        with (
            Load(server.address, callers=1, pause=0.005) as load,
            Process(attack.__name__, command, kit.directory) as attacker,
        ):
            while attacker.alive():
                check(server.alive(), f"the server is gone in {attack.__name__}")
                peak = max(peak, server.memory())
                time.sleep(0.05)
            load.more(20)
            code = attacker.wait()
        told = attacker.log.read_text().strip()
        check(code == 0, f"{attack.__name__} failed: {told}")
        result = json.loads(told.splitlines()[-1])
        shown = ", ".join(f"{value} {name}" for name, value in result.items())
        figures.append(f"{attack.__name__} p99 {load.p(0.99):.1f} ms ({shown})")
        held = {
            "other calls failed": load.failed() == 0,
            f"others wait more than {bound:.0f} ms": load.p(0.99) <= bound,
        }
        total, ended = [*result.values(), 0][:2]
        if attack is idle:
            held["idle connections were closed"] = ended == 0
        elif attack is not canceled:
            # Some garbage is the beginning of a frame that is allowed.
            held["connections were let be"] = ended >= (0.9 if attack is garbage else 1) * total
        wrong += [f"{attack.__name__}: {what}" for what, holds in held.items() if not holds]
    in_flight = "pinnersage_requests_in_flight"
    check(server.codes()["CANCELLED"], f"no call was canceled: {counted(server.codes())}")
    until("no call left in flight", lambda: server.metrics().get(in_flight, 0) == 0)
    with Load(server.address, callers=1, call=health) as load:
        load.more(10)
    check(load.failed() == 0, f"unhealthy afterwards: {counted(load.codes)}")
    megabytes = [round(size / 1e6) for size in (before, peak, server.memory())]
    figures.append("own memory {} MB, at most {}, after it {}".format(*megabytes))
    check(megabytes[1] < 512, f"too much memory; {'; '.join(figures)}")
    check(not wrong, f"{', '.join(wrong)}; {'; '.join(figures)}")
    return "; ".join(figures)


SCENARIOS = [hostile]

if __name__ == "__main__":
    raise_file_limit()
    [attack] = [attack for attack in ATTACKS if attack.__name__ == sys.argv[1]]
    print(json.dumps(attack(int(sys.argv[2]), sys.argv[3] == "1")))
