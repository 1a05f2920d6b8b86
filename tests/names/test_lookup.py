"""Names to targets, over a resolver that is scripted question by question."""

import ipaddress
from types import SimpleNamespace

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.names.lookup import Addresses, Services
from txrproxy.names.question import Unanswered
from txrproxy.names.resolver import AAAA, SRV, A


def address(text):
    return SimpleNamespace(address=ipaddress.ip_address(text).packed)


def srv(priority, weight, port, target):
    name = SimpleNamespace(name=target.encode())
    return SimpleNamespace(priority=priority, weight=weight, port=port, target=name)


class Scripted:
    """Answers by (name, type): records, None, an exception, or a Deferred."""

    def __init__(self, **answers):
        self.reactor = Clock()
        self.answers = answers
        self.in_hosts = {}
        self.search = ["{}"]
        self.asked = []

    def hosts(self, name):
        return [ipaddress.ip_address(text) for text in self.in_hosts.get(name, ())]

    def candidates(self, name):
        return [pattern.format(name.rstrip(".")) for pattern in self.search]

    async def records(self, name, kind):
        self.asked.append((name, kind))
        answer = self.answers.get((name, kind), [])
        if isinstance(answer, Deferred):
            return await answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class LookUpCase(SynchronousTestCase):
    def setUp(self):
        self.resolver = Scripted()
        self.answers = self.resolver.answers

    def found(self, look_up):
        return self.successResultOf(Deferred.fromCoroutine(look_up()))

    def targets(self, look_up):
        return [(target.address, target.port) for target in self.found(look_up).targets]

    def fails(self, look_up, kind=Unanswered):
        return str(self.failureResultOf(Deferred.fromCoroutine(look_up()), kind).value)


class AddressTests(LookUpCase):
    def setUp(self):
        super().setUp()
        self.routed = True
        self.look_up = Addresses(self.resolver, "app", 80, lambda a: a.version == 4 or self.routed)

    def ips(self):
        return [ip for ip, _ in self.targets(self.look_up)]

    def say(self, kind, *texts, name="app"):
        self.answers[name, kind] = [address(text) for text in texts]

    def test_both_families_in_order(self):
        self.say(A, "10.0.0.10", "10.0.0.9", "10.0.0.9")
        self.say(AAAA, "2001:db8::2", "2001:db8::1", "::ffff:10.0.0.9")
        found = self.targets(self.look_up)
        self.assertEqual(
            found,
            [("10.0.0.9", 80), ("10.0.0.10", 80), ("2001:db8::1", 80), ("2001:db8::2", 80)],
        )
        self.say(A, "10.0.0.9", "10.0.0.10")
        self.assertEqual(self.targets(self.look_up), found)

    def test_what_no_server_has(self):
        self.say(A, "0.0.0.0", "224.0.0.1", "10.0.0.1")
        self.say(AAAA, "::", "ff02::1", "fe80::1")
        self.assertEqual(self.ips(), ["10.0.0.1"])

    def test_a_family_without_a_route(self):
        self.say(A, "10.0.0.1")
        self.say(AAAA, "2001:db8::1")
        self.routed = False
        self.assertEqual(self.ips(), ["10.0.0.1"])
        self.say(A)
        self.assertEqual(self.ips(), ["2001:db8::1"])

    def test_hosts_file(self):
        self.resolver.in_hosts["app"] = ["10.0.0.7"]
        self.assertEqual(self.ips(), ["10.0.0.7"])
        self.assertEqual(self.resolver.asked, [])

    def test_a_family_that_fails_keeps_its_last_answer(self):
        self.say(A, "10.0.0.1")
        self.say(AAAA, "2001:db8::1")
        self.ips()
        self.say(A, "10.0.0.2")
        self.answers["app", AAAA] = Unanswered("")
        self.assertEqual(self.ips(), ["10.0.0.2", "2001:db8::1"])
        self.assertEqual(self.found(self.look_up).missing, ("app AAAA",))
        self.answers["app", A] = Unanswered("all")
        self.fails(self.look_up)
        self.say(A, "10.0.0.2")
        self.say(AAAA)
        self.assertEqual(self.ips(), ["10.0.0.2"])

    def test_a_slow_family_is_waited_for_a_little(self):
        self.say(A, "10.0.0.1")
        self.answers["app", AAAA] = Deferred()
        asked = Deferred.fromCoroutine(self.look_up())
        self.resolver.reactor.advance(0.9)
        self.assertNoResult(asked)
        self.resolver.reactor.advance(0.2)
        self.assertEqual(len(self.successResultOf(asked).targets), 1)
        self.assertEqual(self.resolver.reactor.getDelayedCalls(), [])

    def test_the_slow_family_is_not_slow_without_the_other(self):
        self.say(A)
        self.answers["app", AAAA] = slow = Deferred()
        asked = Deferred.fromCoroutine(self.look_up())
        self.resolver.reactor.advance(5)
        slow.callback([address("2001:db8::1")])
        self.assertEqual(len(self.successResultOf(asked).targets), 1)

    def test_no_address(self):
        self.assertEqual(self.fails(self.look_up), "the name has no address")
        self.answers["app", A] = self.answers["app", AAAA] = None
        self.assertEqual(self.fails(self.look_up), "the name has no address")

    def test_failure(self):
        for kind in (A, AAAA):
            self.answers.clear()
            self.answers["app", kind] = Unanswered("no server")
            self.assertEqual(self.fails(self.look_up), "no server")

    def test_search(self):
        self.resolver.search = ["{}.one", "{}.two", "{}.three"]
        self.answers["app.one", A] = None
        self.answers["app.one", AAAA] = Unanswered("")  # NXDOMAIN holds for it too
        self.say(A, "10.0.0.2", name="app.two")
        self.assertEqual(self.ips(), ["10.0.0.2"])
        self.assertNotIn(("app.three", A), self.resolver.asked)

    def test_search_stops_where_it_is_not_certain(self):
        """Else a request would go to another service because a server was slow."""
        self.resolver.search = ["{}.one", "{}.two"]
        self.answers["app.one", A] = Unanswered("slow")
        self.say(A, "10.0.0.2", name="app.two")
        self.assertEqual(self.fails(self.look_up), "slow")

    def test_a_bug_is_no_bad_answer(self):
        self.answers["app", A] = ZeroDivisionError()
        self.fails(self.look_up, ZeroDivisionError)

    def test_cancelled(self):
        self.answers["app", A] = Deferred()
        asked = Deferred.fromCoroutine(self.look_up()).addTimeout(5, self.resolver.reactor)
        self.resolver.reactor.advance(6)
        self.failureResultOf(asked, TimeoutError)


class ServiceTests(LookUpCase):
    def setUp(self):
        super().setUp()
        self.look_up = Services(self.resolver, "_http._tcp.app")
        for number in range(1, 4):
            self.answers[f"h{number}", A] = [address(f"10.0.0.{number}")]

    def say(self, *records):
        self.answers["_http._tcp.app", SRV] = [srv(*record) for record in records]

    def full(self):
        return [
            (t.address, t.port, t.host, t.priority, t.weight)
            for t in self.found(self.look_up).targets
        ]

    def test_services(self):
        self.say((10, 60, 8080, "H1"), (10, 0, 8081, "h2"), (20, 5, 80, "h1"))
        expected = [
            ("10.0.0.1", 80, "h1", 20, 5),
            ("10.0.0.1", 8080, "h1", 10, 60),
            ("10.0.0.2", 8081, "h2", 10, 1),
        ]
        self.assertEqual(self.full(), expected)
        self.say((20, 5, 80, "h1"), (10, 0, 8081, "h2"), (10, 60, 8080, "h1"))
        self.assertEqual(self.full(), expected)

    def test_all_addresses_of_a_target(self):
        self.answers["h1", AAAA] = [address("::1")]
        self.say((0, 1, 80, "h1"))
        self.assertEqual(self.targets(self.look_up), [("10.0.0.1", 80), ("::1", 80)])

    def test_two_names_of_one_address_are_one(self):
        self.answers["h2", A] = self.answers["h1", A]
        self.say((1, 1, 80, "h2"), (0, 1, 80, "h1"))
        self.assertEqual(self.full(), [("10.0.0.1", 80, "h1", 0, 1)])

    def test_a_target_that_fails_keeps_its_last_answer(self):
        self.say((0, 1, 80, "h1"), (0, 1, 80, "h2"))
        before = self.full()
        self.answers["h1", A] = Unanswered("")
        self.assertEqual(self.full(), before)
        self.assertEqual(self.found(self.look_up).missing, ("h1 A",))
        self.answers["h1", A] = []
        self.assertEqual(self.full(), before)
        self.assertEqual(self.found(self.look_up).missing, ("h1",))
        self.say((0, 1, 80, "h2"))
        self.assertEqual(self.targets(self.look_up), [("10.0.0.2", 80)])
        self.assertEqual(list(self.look_up._hosts), ["h2"])

    def test_no_service(self):
        for records in ([], [(0, 0, 80, ".")], [(0, 0, 0, "h1")], [(0, 0, 80, "")]):
            self.say(*records)
            self.assertEqual(self.fails(self.look_up), "the name has no SRV record")
        self.answers["_http._tcp.app", SRV] = None
        self.assertEqual(self.fails(self.look_up), "the name has no SRV record")
        self.answers["_http._tcp.app", SRV] = Unanswered("slow")
        self.assertEqual(self.fails(self.look_up), "slow")

    def test_no_address_of_any_target(self):
        self.say((0, 0, 80, "x"), (0, 0, 80, "y"))
        self.assertEqual(self.fails(self.look_up), "there is no address of x, y")

    def test_too_many(self):
        records = [(0, n, 80, f"t{n}") for n in range(1000)]
        for *_, host in records:
            self.answers[host, A] = [address("10.0.0.1")]
        self.say(*records)
        self.assertEqual(len(self.full()), 1)
        self.assertEqual(len(self.look_up._hosts), 64)
