#!/usr/bin/env python3
"""Finals' latency over a bad network: a table by loss and delay, from `interviewai bench sessions` across two network namespaces.

Between the namespaces lies a pair of TUN devices; this program carries the packets from one to the other, drops some and delays
all, each direction by half of the delay: what `tc netem` does, on kernels that have no netem, too. Needs root and /dev/net/tun.

    sudo benches/netem/impaired.py --program target/release/interviewai --transport ws --json target/bench-netem.json

Not here: anything that the sessions see but latency and loss; no bound of the bandwidth.
"""

import argparse
import collections
import fcntl
import heapq
import json
import os
import pathlib
import random
import selectors
import struct
import subprocess
import sys
import tempfile
import threading
import time

SPACES = ("iai-client", "iai-server")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
TOKEN = "0123456789abcdef0123456789abcdef"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def forget(space):
    subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL, check=False)


def end(number):
    """One end of the link, in its namespace; where its packets are read and written."""
    space, device = SPACES[number], f"iai{number}"
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH14x", device.encode(), IFF_TUN | IFF_NO_PI))
    ip("link", "set", device, "netns", space)
    ip("-n", space, "link", "set", "lo", "up")
    ip("-n", space, "addr", "add", ADDRESSES[number], "peer", ADDRESSES[1 - number], "dev", device)
    ip("-n", space, "link", "set", device, "up")
    return descriptor


class Link(threading.Thread):
    """Carries packets both ways."""

    def __init__(self, ends):
        super().__init__(daemon=True)
        self.ends = ends
        self.loss, self.delay_s = 0.0, 0.0
        self.counts = collections.Counter()
        self.chance = random.Random(7)

    def run(self):
        selector = selectors.DefaultSelector()
        for number, descriptor in enumerate(self.ends):
            selector.register(descriptor, selectors.EVENT_READ, number)
        waiting, order = [], 0
        while True:
            patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
            for key, _ in selector.select(patience):
                while True:
                    try:
                        packet = os.read(key.fd, 65_536)
                    except BlockingIOError:
                        break
                    except OSError:
                        # Its namespace is gone: the run is over.
                        return
                    self.counts["carried"] += 1
                    if self.chance.random() < self.loss:
                        self.counts["dropped"] += 1
                        continue
                    order += 1
                    due = time.monotonic() + self.delay_s / 2
                    heapq.heappush(waiting, (due, order, self.ends[1 - key.data], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, descriptor, packet = heapq.heappop(waiting)
                try:
                    os.write(descriptor, packet)
                except OSError:
                    self.counts["unwritten"] += 1


def serve(program, folder, arguments):
    environment = os.environ | {
        "INTERVIEWAI_AUDIO__HOST": ADDRESSES[1],
        "INTERVIEWAI_AUTH__TOKEN": TOKEN,
        "INTERVIEWAI_DATA_DIR": str(folder / "data"),
        "INTERVIEWAI_AUDIO__HANDSHAKES_PER_MINUTE": "0",
    }
    ready = folder / "ready.json"
    command = ["ip", "netns", "exec", SPACES[1], program, "serve", "--ready-file", ready]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    while not ready.exists():
        if server.poll() is not None:
            sys.exit((folder / "log").read_text())
        time.sleep(0.05)
    said = json.loads(ready.read_text())
    if arguments.transport not in said:
        server.kill()
        sys.exit(f"this build has no {arguments.transport} address: {said}")
    return server, said


def measure(program, folder, said, arguments):
    found = folder / "found.json"
    command = ["ip", "netns", "exec", SPACES[0], program, "bench", "sessions", "--json", found,
               "--url", said[arguments.transport], "--certificate-sha256", said["certificate_sha256"],
               "--count", arguments.count, "--talk", arguments.talk, "--seconds", arguments.seconds]
    if arguments.manifest:
        command += ["--manifest", arguments.manifest]
    environment = os.environ | {"INTERVIEWAI_AUTH__TOKEN": TOKEN}
    ran = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr)
    return json.loads(found.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/interviewai")
    parser.add_argument("--transport", default="ws")
    parser.add_argument("--count", type=int, default=2, help="sessions at once")
    parser.add_argument("--talk", type=float, default=0.6)
    parser.add_argument("--seconds", type=int, default=40, help="for each row")
    parser.add_argument("--loss", default="0,1,3,5", help="per cent, of each direction")
    parser.add_argument("--delay", default="50,150,300", help="milliseconds there and back")
    parser.add_argument("--manifest")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.program).resolve())
    for space in SPACES:
        forget(space)
        ip("netns", "add", space)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        link = Link([end(0), end(1)])
        link.start()
        server, said = serve(program, pathlib.Path(folder), arguments)
        try:
            print(f"{arguments.transport}, {arguments.count} sessions, {arguments.seconds} s a row; end of speech → final text, ms")
            print(f"{'delay':>7} {'loss':>5} {'finals':>7} {'p50':>6} {'p95':>6} {'worst':>6} {'lost':>5} {'failed':>7} {'dropped packets':>16}", flush=True)
            for delay in map(float, arguments.delay.split(",")):
                for loss in map(float, arguments.loss.split(",")):
                    link.counts.clear()
                    link.delay_s, link.loss = delay / 1e3, loss / 1e2
                    found = measure(program, pathlib.Path(folder), said, arguments)
                    link.loss = 0.0
                    final, losses = found["final_ms"], found["losses"]
                    lost = losses["clips_without_text"] + losses["markers_missing"]
                    failed = sum(found["failed"].values()) + sum(found["refused"].values())
                    dropped = f"{link.counts['dropped']}/{link.counts['carried']}"
                    print(f"{delay:>7.0f} {loss:>5.0f} {final['count']:>7} {final['p50']:>6.0f} {final['p95']:>6.0f} {final['worst']:>6.0f} {lost:>5} {failed:>7} {dropped:>16}", flush=True)
                    rows.append({"delay_ms": delay, "loss_percent": loss, "found": found})
        finally:
            server.terminate()
            server.wait()
            for space in SPACES:
                forget(space)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps({"transport": arguments.transport, "rows": rows}, indent=1))


main()
