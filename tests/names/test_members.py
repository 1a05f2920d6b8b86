from ipaddress import ip_address

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txrproxy.balance.backend import Backend, State
from txrproxy.balance.pool import Pool
from txrproxy.names.lookup import Found, Target
from txrproxy.names.members import Members, Named
from txrproxy.names.question import Unanswered
from txrproxy.names.watch import Watch


class Kept:
    """The connections of a backend."""

    closed = False

    def close(self):
        self.closed = True


def target(text, port=80, **options):
    address = ip_address(text)
    return Target(address.version, address.packed, port, **options)


def backend(name):
    made = Backend(name.encode(), b"app")
    made.connections = Kept()
    return made


class Name:
    """A name whose look-ups are answered by hand."""

    def __init__(self, clock, **options):
        self.asked = None
        self.made = []
        watch = Watch("app", self.look_up, 30, clock, lambda: 0.0)
        self.named = Named(watch, self.make, **options)

    async def look_up(self):
        self.asked = Deferred()
        return await self.asked

    def make(self, target):
        self.made.append(backend(f"{target.address}:{target.port}"))
        return self.made[-1]

    def say(self, *targets):
        self.asked.callback(Found(tuple(targets)))


class MembersTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.static = backend("static")
        self.name = Name(self.clock)
        self.pool = Pool(b"app", [self.static])
        self.members = Members(self.pool, [self.name.named, self.static], self.clock)

    def names(self):
        return [backend.name.decode() for backend in self.pool.backends]

    def say(self, *texts):
        self.name.say(*[text if isinstance(text, Target) else target(text) for text in texts])

    def again(self):
        self.clock.advance(30)

    def test_follows(self):
        ready = self.members.start()
        self.assertNoResult(ready)
        self.say("10.0.0.1", "10.0.0.2")
        self.successResultOf(ready)
        self.assertEqual(self.names(), ["10.0.0.1:80", "10.0.0.2:80", "static"])
        one, two, _ = self.pool.backends
        self.again()
        self.say("10.0.0.2", "10.0.0.3")
        self.assertEqual(self.names(), ["10.0.0.2:80", "10.0.0.3:80", "static"])
        self.assertIs(self.pool.backends[0], two)
        self.assertEqual((one.state, two.state), (State.DRAIN, State.UP))
        self.assertEqual((one.connections.closed, two.connections.closed), (True, False))
        self.again()
        self.say("10.0.0.1")
        self.assertIsNot(self.pool.backends[0], one)
        self.members.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_assumed(self):
        """Members without a look-up."""
        self.members.assume(lambda name: [target("192.0.2.1", 8080)] if name == "app" else [])
        self.assertEqual(self.names(), ["192.0.2.1:8080", "static"])
        self.assertIsNone(self.name.asked)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_changes_without_news(self):
        self.members.start()
        self.say("10.0.0.1")
        refreshed = []
        self.patch(Pool, "replace", lambda *_: refreshed.append(1))
        self.again()
        self.say("10.0.0.1")
        self.again()
        self.name.asked.errback(Unanswered(""))
        self.assertEqual(refreshed, [])

    def test_start_does_not_wait_for_ever(self):
        ready = self.members.start()
        self.clock.advance(4.9)
        self.assertNoResult(ready)
        self.clock.advance(0.1)
        self.successResultOf(ready)
        self.say("10.0.0.1")
        self.assertEqual(len(self.pool.backends), 2)

    def test_stopped_before_it_was_ready(self):
        ready = self.members.start()
        self.members.stop()
        self.assertNoResult(ready)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_weights_and_priorities(self):
        self.name = Name(self.clock, weight=2, priority=1)
        pool = Pool(b"app", [])
        members = Members(pool, [self.name.named], self.clock)
        members.start()
        self.say(
            target("10.0.0.1", weight=3, priority=10), target("10.0.0.2", weight=1, priority=0)
        )
        one, two = pool.backends
        self.assertEqual((one.weight, one.share, one.priority), (6, 6.0, 11))
        self.assertEqual((two.weight, two.share, two.priority), (2, 2.0, 1))
        self.assertIs(pool.select(), two)
        pool.set_weight(two, 0, 0)
        self.again()
        self.say(target("10.0.0.1", weight=4, priority=0), target("10.0.0.2", weight=1, priority=0))
        self.assertEqual(pool.backends, (one, two))
        self.assertEqual((one.weight, one.priority), (8, 1))
        self.assertEqual(two.weight, 0)  # by hand, and DNS says nothing new of it
        self.assertIs(pool.select(), one)

    def test_another_target_at_the_same_address(self):
        self.members.start()
        self.say(target("10.0.0.1", host="a"))
        one = self.pool.backends[0]
        self.again()
        self.say(target("10.0.0.1", host="b"))
        self.assertIsNot(self.pool.backends[0], one)

    def test_slow_start_is_for_those_that_come_later(self):
        self.pool.slow_start = 100.0
        self.members.start()
        self.clock.advance(1)
        self.say("10.0.0.1")
        self.assertEqual(self.pool.backends[0].share, 1.0)
        self.again()
        self.say("10.0.0.1", "10.0.0.2")
        self.assertEqual([b.share for b in self.pool.backends], [1.0, 0.1, 1.0])

    def test_a_reload_begins_with_the_last_answers(self):
        self.members.start()
        self.say("10.0.0.1", "10.0.0.2")
        name = Name(self.clock)
        other = Name(self.clock)
        other.named.watch.name = "other"
        pool = Pool(b"app", [self.static], slow_start=100.0)
        again = Members(pool, [self.static, name.named, other.named], self.clock)
        again.remember(self.members)
        self.assertEqual(
            [b.name for b in pool.backends], [b"static", b"10.0.0.1:80", b"10.0.0.2:80"]
        )
        self.assertEqual([b.share for b in pool.backends], [1.0, 1.0, 1.0])
        members = pool.backends
        self.assertNoResult(again.start())
        name.asked.errback(Unanswered(""))
        self.assertEqual(pool.backends, members)

    def test_started_twice(self):
        first, second = self.members.start(), self.members.start()
        self.say("10.0.0.1")
        for ready in (first, second, self.members.start()):
            self.successResultOf(ready)

    def test_repr(self):
        self.assertEqual(
            repr(self.members), "<Members of <Pool app of 1>: [<Watch app: 0 targets>]>"
        )


ANSWERS = st.one_of(st.none(), st.sets(st.integers(1, 5).map(lambda n: f"10.0.0.{n}"), min_size=1))


class Following(RuleBasedStateMachine):
    """Members are always the static ones and the last good answers, and what stays is kept."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.parties = [Name(self.clock), backend("s1"), Name(self.clock), backend("s2")]
        self.names = [party for party in self.parties if isinstance(party, Name)]
        self.good = dict.fromkeys(self.names, ())
        entries = [p.named if isinstance(p, Name) else p for p in self.parties]
        self.pool = Pool(b"app", [p for p in self.parties if isinstance(p, Backend)])
        self.members = Members(self.pool, entries, self.clock)
        self.ready = self.members.start()
        self.before = self.pool.backends

    @rule(which=st.integers(0, 1), answer=ANSWERS)
    def answer(self, which, answer):
        name = self.names[which]
        if name.asked is None or name.asked.called:
            return
        if answer is None:
            name.asked.errback(Unanswered("no server"))
        else:
            self.good[name] = tuple(sorted(target(text) for text in answer))
            name.say(*self.good[name])

    @rule(seconds=st.sampled_from([0.5, 5, 30, 60]))
    def time_passes(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def members_are_the_last_good_answers(self):
        expected = []
        for party in self.parties:
            if isinstance(party, Name):
                expected += [f"{t.address}:80".encode() for t in self.good[party]]
            else:
                expected.append(party.name)
        assert [b.name for b in self.pool.backends] == expected

    @invariant()
    def what_stays_is_kept_and_what_goes_is_drained(self):
        assert len(set(self.pool.backends)) == len(self.pool.backends)
        for name in self.names:
            current = set(name.named.backends.values())
            assert current <= set(self.pool.backends)
            for made in name.made:
                gone = made not in current
                assert (made.state is State.DRAIN) is gone
                assert made.connections.closed is gone
            # One object for each address that came, no more.
            kept = set(self.before) & set(name.made)
            assert {b for b in kept if b.name in {c.name for c in current}} <= current
        self.before = self.pool.backends

    @invariant()
    def it_goes_on(self):
        for name in self.names:
            assert name.named.watch._call or name.named.watch._looking

    def teardown(self):
        self.members.stop()
        assert [c for c in self.clock.getDelayedCalls() if c.active()] == []


Following.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
FollowingTests = Following.TestCase
