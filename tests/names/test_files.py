import os
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.names.files import File, Settings, is_name, parse_hosts, parse_resolv_conf


class ResolvConfTests(SynchronousTestCase):
    def test_nothing(self):
        self.assertEqual(parse_resolv_conf(""), Settings((("127.0.0.1", 53),), (), 1, 2.0, 2))

    def test_all(self):
        text = """
            # made by hand
            domain ignored.example
            nameserver 10.0.0.1
            nameserver ::1
            nameserver not-an-address
            nameserver
            nameserver fe80::1%eth0
            nameserver 10.0.0.4
            search ns.svc.cluster.local. Svc.cluster.local bad..name
            options ndots:5 rotate timeout:3 attempts:x
            sortlist 10.0.0.0
        """
        servers = (("10.0.0.1", 53), ("::1", 53), ("fe80::1%eth0", 53))
        search = ("ns.svc.cluster.local", "svc.cluster.local")
        self.assertEqual(parse_resolv_conf(text), Settings(servers, search, 5, 3.0, 2))

    def test_options_are_bounded(self):
        settings = parse_resolv_conf("options ndots:99999999 timeout:99 attempts:0")
        self.assertEqual((settings.ndots, settings.timeout, settings.attempts), (15, 10, 1))

    @given(st.text())
    def test_anything(self, text):
        self.assertTrue(parse_resolv_conf(text).servers)
        parse_hosts(text)


class HostsTests(SynchronousTestCase):
    def test_hosts(self):
        hosts = parse_hosts(
            "10.0.0.1 App app.example. # x y\n::1\n\n10.0.0.2 app\nx app\n#10.0.0.3 app"
        )
        one, two = ip_address("10.0.0.1"), ip_address("10.0.0.2")
        self.assertEqual(hosts, {"app": (one, two), "app.example": (one,)})


class NameTests(SynchronousTestCase):
    def test_names(self):
        for name in ("a", "a.", "_http._tcp.a-b.example", "x" * 63, ".".join(["a" * 61] * 4)):
            self.assertTrue(is_name(name), name)
        for name in ("", ".", "a..b", ".a", "x" * 64, ".".join(["a" * 63] * 4), "a\n", "a b", "é"):
            self.assertFalse(is_name(name), name)


class FileTests(SynchronousTestCase):
    def test_is_read_again_when_it_changed(self):
        path = self.mktemp()
        parsed = []

        def parse(text):
            parsed.append(text)
            return text

        file = File(path, parse)
        self.assertEqual(file(), "")
        for text in ("one", "other"):
            with open(path + "~", "w") as new:
                new.write(text)
            os.replace(path + "~", path)
            self.assertEqual((file(), file()), (text, text))
        self.assertEqual(parsed[-2:], ["one", "other"])
        os.unlink(path)
        self.assertEqual(file(), "")
        self.assertEqual(parse("x"), "x")
