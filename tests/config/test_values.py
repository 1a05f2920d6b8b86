from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.config.values import (
    BackendUrl,
    Bind,
    LimitKey,
    NameServer,
    Rate,
    RequestKey,
    Secret,
    Statuses,
)


class Values(SynchronousTestCase):
    def test_spelling(self) -> None:
        for value, text in [
            (Rate(50, 1), "50/s"),
            (Rate(600, 60), "600/m"),
            (Rate(9, 3600), "9/h"),
            (Bind("tcp", "127.0.0.1", 80), "127.0.0.1:80"),
            (Bind("tcp", "::1", 80), "[::1]:80"),
            (Bind("unix", name="run/x.sock"), "unix:run/x.sock"),
            (Bind("fd", name="web"), "fd:web"),
            (BackendUrl("http", "a.example", 80), "http://a.example:80"),
            (BackendUrl("https", "::1", 443), "https://[::1]:443"),
            (BackendUrl("unix", path="/run/app"), "unix:/run/app"),
            (BackendUrl("http", "_http._tcp.app"), "http://_http._tcp.app"),
            (NameServer("10.0.0.2", 53), "10.0.0.2:53"),
            (NameServer("::1", 53), "[::1]:53"),
            (RequestKey("uri"), "uri"),
            (RequestKey("header", "X-Id"), "header:X-Id"),
            (LimitKey((RequestKey("uri"), RequestKey("route"))), "uri+route"),
            (Statuses(((200, 399), (404, 404))), "200-399,404"),
        ]:
            self.assertEqual(str(value), text)

    def test_secret_does_not_show(self) -> None:
        for spelled in (str, repr, "{}".format):
            self.assertEqual(spelled(Secret("env", "hunter2")), "Secret(env:***)")

    def test_statuses_contain(self) -> None:
        statuses = Statuses(((200, 299), (404, 404)))
        self.assertEqual(
            [status for status in (199, 200, 299, 300, 404, 405) if status in statuses],
            [200, 299, 404],
        )

    def test_names_of_backends(self) -> None:
        for host, name, local in [
            ("10.0.0.1", False, False),
            ("::1", False, False),
            ("app", True, False),
            ("localhost.example", True, False),
            ("LocalHost", False, True),
            ("app.localhost.", False, True),
        ]:
            url = BackendUrl("http", host, 80)
            self.assertEqual((url.is_name, url.is_local_name), (name, local), host)
        self.assertFalse(BackendUrl("unix", path="/run/app").is_name)

    def test_local_addresses(self) -> None:
        for bind, local in [
            (Bind("tcp", "127.0.0.1", 1), True),
            (Bind("tcp", "::1", 1), True),
            (Bind("tcp", "LocalHost", 1), True),
            (Bind("unix", name="x"), True),
            (Bind("tcp", "0.0.0.0", 1), False),
            (Bind("tcp", "localhost.example.com", 1), False),
            (Bind("fd", name="x"), False),
        ]:
            self.assertEqual(bind.is_local, local, bind)
