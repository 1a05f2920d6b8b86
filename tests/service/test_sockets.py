from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txrproxy.config.values import Bind
from txrproxy.service.sockets import CannotListen, listen


class TcpTests(SynchronousTestCase):
    def bound(self, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
        made = listen(Bind("tcp", host, port), 5)
        self.addCleanup(made.close)
        return made

    def test_listens(self) -> None:
        bound = self.bound()
        self.assertFalse(bound.getblocking())
        self.assertTrue(bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        with socket.create_connection(bound.getsockname(), 5):
            pass

    def test_ipv6_is_ipv6_alone(self) -> None:
        """So that "0.0.0.0:80" and "[::]:80" can stand side by side."""
        try:
            bound = self.bound("::1")
        except CannotListen as error:
            raise SkipTest("no IPv6 here") from error
        self.assertTrue(bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))

    def test_in_use(self) -> None:
        port = self.bound().getsockname()[1]
        error = self.assertRaises(CannotListen, self.bound, port=port)
        self.assertEqual(
            str(error),
            f"cannot listen on 127.0.0.1:{port}: address already in use; "
            "stop the other process or choose another port",
        )

    def test_not_ours(self) -> None:
        error = self.assertRaises(CannotListen, self.bound, "192.0.2.1")
        self.assertIn("this machine does not have the address", str(error))

    def test_no_such_name(self) -> None:
        self.patch(socket, "getaddrinfo", no_name)
        error = self.assertRaises(CannotListen, self.bound, "nowhere.invalid")
        self.assertIn("cannot listen on nowhere.invalid:0: ", str(error))

    def test_privileged(self) -> None:
        self.patch(socket, "getaddrinfo", denied)
        error = self.assertRaises(CannotListen, self.bound, port=80)
        self.assertIn("permission denied; ports below 1024 need root", str(error))

    def test_again_after_a_connection(self) -> None:
        """A restart need not wait until the kernel has forgotten old connections."""
        first = self.bound()
        port = first.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port), 5)
        first.setblocking(True)
        served, _ = first.accept()
        served.close()  # this side first: TIME_WAIT is here
        client.close()
        first.close()
        self.bound(port=port)


class UnixTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not mktemp(): the path of a socket has at most 107 bytes.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "socket"

    def bound(self) -> socket.socket:
        made = listen(Bind("unix", name=str(self.path)), 5)
        self.addCleanup(made.close)
        return made

    def test_listens(self) -> None:
        self.bound()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))

    def test_stale(self) -> None:
        self.bound().close()
        self.assertTrue(self.path.is_socket())
        self.test_listens()

    def test_in_use(self) -> None:
        self.bound()
        error = self.assertRaises(CannotListen, self.bound)
        self.assertIn("another process listens there", str(error))

    def test_in_use_and_busy(self) -> None:
        """Its backlog is full: it must not be taken for a dead one, nor be waited for."""
        self.addCleanup(listen(Bind("unix", name=str(self.path)), 0).close)
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(str(self.path))
        self.assertRaises(CannotListen, self.bound)

    def test_foreign_file(self) -> None:
        self.path.write_text("precious")
        error = self.assertRaises(CannotListen, self.bound)
        self.assertIn("the path exists and is no socket", str(error))
        self.assertEqual(self.path.read_text(), "precious")

    def test_link_to_a_socket(self) -> None:
        target = self.path.with_name("target")
        os.symlink(target, self.path)
        self.assertRaises(CannotListen, self.bound)
        self.assertTrue(self.path.is_symlink())

    def test_no_folder(self) -> None:
        self.path = self.path / "deeper"
        error = self.assertRaises(CannotListen, self.bound)
        self.assertIn("no such file or directory", str(error))


def no_name(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")
