"""A reload changes what is served, and nothing that is being served."""

import contextlib
import signal
import socket

from tests.scenarios.reloads import MORE, ReloadScenario
from tests.service.load import REQUEST, UPGRADE
from tests.twistd import ask, connect, get, read_all

HELLO = """\
[[routes]]
name = "hello"
match = { path = "/hello" }
respond = { status = 200, body = "%s" }
"""


class ReloadTests(ReloadScenario):
    def test_ten_under_load(self):
        self.reload_under_load(10)

    def test_a_kept_connection_sees_the_new_tree(self):
        self.write(HELLO % "old")
        self.start()
        with connect(self.port) as link:
            ask(link, "/hello")
            self.assertTrue(link.recv(4096).endswith(b"old"))
            self.write(HELLO % "new")
            self.reload()
            ask(link, "/hello", close=True)
            self.assertTrue(read_all(link).endswith(b"new"))

    def test_an_exchange_ends_by_the_plan_it_began_with(self):
        origin = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(origin.close)
        self.write(origin=origin.getsockname()[1])
        self.start()
        with connect(self.port) as link:
            ask(link, "/slow")
            served, _ = origin.accept()
            self.addCleanup(served.close)
            served.recv(4096)
            self.write(HELLO.replace("/hello", "/slow") % "new")
            self.reload()
            served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")
            self.assertTrue(link.recv(4096).endswith(b"\r\n\r\nold"))
            ask(link, "/slow", close=True)
            self.assertTrue(read_all(link).endswith(b"new"))

    def test_a_bad_file_changes_nothing(self):
        self.start()
        self.write(pool="apx")
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_for(
            'reload refused, nothing has changed: .*toml:\\d+: .*unknown pool "apx"'
        )
        self.assertIn(b"hello", get(self.port))
        last = self.ask("status")["last_reload"]
        self.assertEqual(last["ok"], False)
        self.assertIn("did you mean", last["error"])

    def test_what_only_a_worker_can_see_is_refused_too(self):
        self.start()
        self.write('[[routes]]\nname = "r"\nresource = "no_such_module:thing"\n')
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_for("reload refused.*no_such_module")
        self.assertIn(b"hello", get(self.port))

    def test_an_address_that_is_not_to_be_had_is_refused(self):
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        self.start()
        self.write(MORE.replace(":0", f":{other.getsockname()[1]}"))
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_for("reload refused.*address already in use")
        self.assertIn(b"hello", get(self.port))

    def test_listeners_come_and_go(self):
        self.start()
        self.write(MORE)
        self.reload()
        status = self.ask("status")
        port = int(status["listeners"][-1].rpartition(":")[2])
        self.assertIn(b"hello", get(port))
        idle = connect(port)
        self.addCleanup(idle.close)
        ask(idle)
        idle.recv(4096)
        self.write()
        self.reload()
        self.assertEqual(read_all(idle), b"")
        self.assertRaises(ConnectionRefusedError, connect, port)

    def test_tunnels_of_a_removed_pool_end_at_the_drain_timeout(self):
        self.write(
            '[[routes]]\nname = "t"\npool = "t"\nmatch = { path = "/load" }\n'
            f'[pools.t]\nbackends = ["http://127.0.0.1:{self.origin.port}"]\n'
        )
        self.start()
        with connect(self.port) as removed:
            removed.sendall(REQUEST % UPGRADE)
            removed.recv(4096)
            self.write(drain="200ms")
            with connect(self.port) as kept:
                kept.sendall(REQUEST.replace(b"/load", b"/other") % UPGRADE)
                kept.recv(4096)
                self.reload()
                with contextlib.suppress(ConnectionResetError):
                    self.assertEqual(read_all(removed), b"")
                kept.sendall(b"ping")
                self.assertEqual(kept.recv(4096), b"ping")


class InProcessTests(ReloadScenario):
    """The same without workers."""

    workers = 0

    def test_reload(self):
        self.start()
        load = self.load()
        load.kept(self.port)
        load.tls(self.tls_port)
        load.tunnel(self.port)
        for turn in range(5):
            self.write(MORE if turn % 2 else "")
            self.reload()
        load.end()
        self.assertEqual(load.failures, [])

    def test_workers_need_a_restart(self):
        self.start()
        self.write(workers=1)
        self.proxy.signal(signal.SIGHUP)
        self.proxy.wait_for("reload refused.*a change from or to 0 needs a restart")
        self.assertIn(b"hello", get(self.port))
