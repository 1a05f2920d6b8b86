"""A proxy with a cache, killed at random points of filling, evicting and dropping under traffic.

Whatever it serves, before and after, is to the byte what the origin has said under that number.
"""

import http.client
import itertools
import random
import shutil
import tempfile
import threading
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.nursery import Nursery
from tests.twistd import PATIENCE, wait_until

ROUNDS = 200
LANES = 4
PATHS = 40
SIZES = (0, 100, 5000, 70_000, 300_000, 1_500_000)
CONFIG = """
version = 1
[server]
workers = 0
state_dir = "{folder}/state"
[listeners.http]
bind = ["127.0.0.1:0"]
[pools.app]
backends = ["http://127.0.0.1:{origin}"]
[caches.main]
path = "{folder}/cache"
max_size = "8MiB"
memory = "1MiB"
[[routes]]
name = "all"
pool = "app"
cache = {{ store = "main" }}
"""


def body_of(path, number):
    """What the origin says of a path at this number."""
    size = SIZES[number % len(SIZES)]
    seed = sha256(b"%s %d" % (path.encode(), number)).digest()
    return (seed * (size // 32 + 1))[:size]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    numbers = itertools.count(1)

    def do_GET(self):
        number = next(self.numbers)
        known = self.headers.get("If-None-Match")
        if known and number % 2:
            self.send_response(304)
            self.send_header("ETag", known)
            self.send_header("Cache-Control", "max-age=600")
            self.end_headers()
            return
        body = body_of(self.path, number)
        self.send_response(200)
        self.send_header("X-Number", str(number))
        self.send_header("ETag", f'"{number}"')
        self.send_header("Cache-Control", "max-age=0" if number % 3 else "max-age=600")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_DELETE(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        """The proxy's log is the one to look at."""


class Origin(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """The proxy was killed."""


class Lane(threading.Thread):
    """Asks until it is told to stop, or nobody answers."""

    def __init__(self, port, chance):
        super().__init__(daemon=True)
        self.port = port
        self.chance = chance
        self.done = 0
        self.hits = 0
        self.wrong = []
        self.stopped = False

    def run(self):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            while not self.stopped:
                delete = self.chance.random() < 0.05
                self.ask(link, f"/{self.chance.randrange(PATHS)}", "DELETE" if delete else "GET")
        except (OSError, http.client.HTTPException):
            pass  # it was killed
        finally:
            link.close()

    def ask(self, link, path, method="GET"):
        link.request(method, path, headers={"Host": "a.example"})
        response = link.getresponse()
        body = response.read()
        if response.status == 200:
            number = int(response.headers["X-Number"])
            if body != body_of(path, number):
                self.wrong.append((path, number, len(body), response.headers["Cache-Status"]))
            self.hits += "hit" in response.headers["Cache-Status"]
        elif method == "GET":
            self.wrong.append((path, response.status))
        self.done += 1


class KillTests(SynchronousTestCase):
    timeout = 1800

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, True)
        origin = Origin(("127.0.0.1", 0), Handler)
        self.addCleanup(origin.server_close)
        serving = threading.Thread(target=origin.serve_forever, daemon=True)
        serving.start()
        self.addCleanup(serving.join)
        self.addCleanup(origin.shutdown)
        self.config = self.folder / "edge.toml"
        self.config.write_text(CONFIG.format(folder=self.folder, origin=origin.server_port))

    def test_what_is_served_is_whole(self):
        chance = random.Random(5)
        kept = 0
        nursery = Nursery()
        self.addCleanup(nursery.close)
        for _ in range(ROUNDS):
            port = nursery.start(self.config)
            # First all that the last round has left, then traffic.
            look = Lane(port, chance)
            link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            for number in range(PATHS):
                look.ask(link, f"/{number}")
            link.close()
            kept += look.hits
            lanes = [Lane(port, random.Random(chance.random())) for _ in range(LANES)]
            for lane in lanes:
                lane.start()
            enough = chance.randrange(1, 150)
            wait_until(lambda lanes=lanes, n=enough: sum(lane.done for lane in lanes) >= n)
            nursery.kill()
            for lane in lanes:
                lane.stopped = True
                lane.join(PATIENCE)
            for lane in (look, *lanes):
                self.assertEqual(lane.wrong, [])
        self.assertGreater(kept, ROUNDS)  # something has survived, or this shows nothing
