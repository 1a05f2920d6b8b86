"""A stored response and what validation makes of it."""

from twisted.trial.unittest import SynchronousTestCase

from txrproxy.cache.stored import Stored
from txrproxy.http.head import parse_response_head


def stored(**given: object) -> Stored:
    head = parse_response_head(b'HTTP/1.1 200 OK\r\nETag: "a"')
    return Stored(b"key", b"http://example.com/", head, 5, 10.0, 11.0, **given)  # type: ignore[arg-type]


class StoredTests(SynchronousTestCase):
    def test_replaced_keeps_what_is_not_given(self) -> None:
        one = stored(vary=[b"accept"], variant=b"v", tags=[b"t"], invalidated=True)
        other = one.replaced()
        for name in Stored.__slots__:
            if name != "invalidated":
                self.assertEqual(getattr(one, name), getattr(other, name), name)
        self.assertFalse(other.invalidated)

    def test_replaced_takes_what_is_given(self) -> None:
        head = parse_response_head(b'HTTP/1.1 200 OK\r\nETag: "b"')
        other = stored().replaced(
            head=head, requested=20.0, responded=21.0, tags=[b"n"], invalidated=True
        )
        self.assertEqual(
            (other.head, other.requested, other.responded, other.tags, other.invalidated),
            (head, 20.0, 21.0, (b"n",), True),
        )

    def test_same_until_it_is_validated(self) -> None:
        one = stored()
        self.assertTrue(one.same(stored(tags=[b"t"], invalidated=True)))
        self.assertFalse(one.same(one.replaced(responded=12.0)))
        self.assertFalse(one.same(stored(vary=[b"accept"], variant=b"v")))
        # Two that came at once may be as long as each other.
        other = parse_response_head(b'HTTP/1.1 200 OK\r\nETag: "b"')
        self.assertFalse(one.same(one.replaced(head=other)))

    def test_repr_names_the_url(self) -> None:
        self.assertEqual("<Stored 200 http://example.com/>", repr(stored()))
