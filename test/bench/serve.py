"""Load on a real server: what batches and the cache gain over one client at a time.

    python test/bench/serve.py --seconds 60

Starts `kosmos2 serve`, asks it for a minute each with one client, with 50 clients that each send an image of
their own with every request, and with 50 clients about 5 shared images. Prints rates, their ratios, times,
refusals, the server's memory before and after, and whether /metrics has counted every request.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
SHARED_IMAGES = 5
PHRASES = ("the orange cube", "the green plate", "a ring", "the yellow banana")


class Images:
    """Images of 640 x 480 pixels, no two alike: a photograph with a few pixels that a number sets."""

    def __init__(self) -> None:
        self._photo = cv2.imread(str(ROOT / "kosmos2_serve/example_scenes/rings.jpg"))

    def encoded(self, number: int) -> str:
        image = self._photo.copy()
        image[:16, :64] = np.random.default_rng(number).integers(0, 255, (16, 64, 3), np.uint8)
        return base64.b64encode(cv2.imencode(".jpg", image)[1].tobytes()).decode()


class Load:
    """Clients that ask one after the other, for a time."""

    def __init__(self, port: int, images: Images, clients: int, shared: bool, seconds: float) -> None:
        self.port, self.images, self.shared, self.seconds = port, images, shared, seconds
        self.statuses: Counter[int] = Counter()
        self.times_s: list[float] = []
        self._lock = threading.Lock()
        self._numbers = iter(range(clients * 1_000_000, clients * 2_000_000))
        self._bodies = [images.encoded(-number - 1 + 100) for number in range(SHARED_IMAGES)]
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def run(self) -> float:
        """Return the answers with status 200 per second."""
        began_s = time.monotonic()
        self._end_s = began_s + self.seconds
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()
        return self.statuses[200] / (time.monotonic() - began_s)

    def _ask(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        count = 0
        while time.monotonic() < self._end_s:
            with self._lock:
                number = next(self._numbers)
            shared = self._bodies[(client + count) % SHARED_IMAGES]
            image = shared if self.shared else self.images.encoded(number)
            body = json.dumps({"image": image, "text": PHRASES[(client + count) % len(PHRASES)]})
            began_s = time.monotonic()
            connection.request("POST", "/v1/locate", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            with self._lock:
                self.statuses[response.status] += 1
                self.times_s.append(time.monotonic() - began_s)
            if response.status == 429:
                time.sleep(float(response.getheader("Retry-After")))
            count += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=str(ROOT / "models/tabletop-tiny"), help="checkpoint to serve")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each of the three parts")
    parser.add_argument("--clients", type=int, default=50, help="clients at the same time")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "kosmos2_cli", "serve", "--port", "0", "--model", arguments.model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        try:
            port = int(re.search(r":(\d+),", server.stdout.readline())[1])
            report(port, psutil.Process(server.pid), arguments)
        finally:
            server.terminate()
    print(f"exit status of the server: {server.returncode}")


def report(port: int, process: psutil.Process, arguments: argparse.Namespace) -> None:
    images, sent = Images(), 0
    Load(port, images, 1, False, 3).run()  # warm-up
    before = counted(port)
    base = 0.0
    parts = (("one client", 1, False), ("own images", arguments.clients, False))
    for name, clients, shared in (*parts, ("5 shared images", arguments.clients, True)):
        memory = process.memory_info().rss / 2**20
        load = Load(port, images, clients, shared, arguments.seconds)
        rate = load.run()
        base = base or rate
        sent += sum(load.statuses.values())
        p50, p99 = np.percentile(load.times_s, (50, 99))
        others = {status: count for status, count in load.statuses.items() if status not in (200, 429)}
        print(
            f"{name:<16} {clients:>3} clients  {rate:6.1f} answers/s  {rate / base:5.2f} x  p50 {p50:.2f} s "
            f" p99 {p99:.2f} s  429: {load.statuses[429]}  other errors: {others or 0} "
            f" RSS {memory:.0f} -> {process.memory_info().rss / 2**20:.0f} MiB",
            flush=True,
        )
    print(f"requests sent: {sent}, counted in /metrics: {counted(port) - before:.0f}")


def counted(port: int) -> float:
    """Return the number of requests to /v1/locate in /metrics."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    samples = re.findall(r'^kosmos2_requests_total\{endpoint="/v1/locate",.*\} (\S+)$', text, re.MULTILINE)
    return sum(map(float, samples))


if __name__ == "__main__":
    main()
