"""What is in memory, and the keys of a URL beside it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.cache.storing import response, variant
from txrproxy.cache.purge import Purge
from txrproxy.cache.reading import Copy
from txrproxy.cache.tier import Item, Tier, Varied, weight_of
from txrproxy.http.fields import parse_fields

LANGUAGE = (b"accept-language",)
URL = b"http://example.com/"


def copy_of(key: bytes, url: bytes = URL, language: bytes = b"", size: int = 10) -> Copy:
    varied = {"vary": LANGUAGE, "variant": language} if language else {}
    return Copy(response(key, url=url, length=size, **varied), bytes(size))


class Watched(Tier):
    """Counts what it looks at."""

    __slots__ = ("looked",)

    def peek(self, key: bytes) -> Item | None:
        self.looked += 1
        return super().peek(key)

    def values(self):  # type: ignore[no-untyped-def]
        raise AssertionError("everything is looked at")


class TierTests(SynchronousTestCase):
    def copies(self, tier: Tier) -> list[Copy]:
        found: list[Copy] = []
        for item in tier.values():
            found += item.copies.values() if isinstance(item, Varied) else [item]
        return found

    def assert_listed(self, tier: Tier) -> None:
        """Every copy by its URL, and nothing else."""
        listed = {(url, key) for url in tier._keys for key in tier.keys_of(url)}
        there = [(copy.stored.url, copy.stored.key) for copy in self.copies(tier)]
        self.assertEqual(listed, set(there))
        count = sum(1 if isinstance(keys, bytes) else len(keys) for keys in tier._keys.values())
        self.assertEqual(count, len(there))

    def test_a_purge_by_url_looks_at_nothing_else(self) -> None:
        """An unsafe request costs what is stored for its URL, however much else there is."""
        counts = []
        for others in (10, 5000):
            tier = Watched(1 << 30)
            tier.looked = 0
            for number in range(others):
                tier.keep(copy_of(b"%d" % number, URL + b"%d" % number))
            for key in (b"a", b"b"):
                for language in (b"de", b"en"):
                    tier.keep(copy_of(key, language=language))
            tier.looked = 0
            tier.purge(Purge("url", URL))
            self.assertEqual(tier.keys_of(URL), frozenset())
            counts.append(tier.looked)
        self.assertEqual(counts[0], counts[1])
        self.assertLess(counts[0], 20)

    def test_select(self) -> None:
        tier = Tier(1 << 20)
        tier.keep(copy_of(b"k", language=b"de"))
        item = tier.get(b"k")
        assert isinstance(item, Varied)
        for language, there in ((b"de", True), (b"en", False)):
            fields = parse_fields(b"Accept-Language: " + language)
            self.assertEqual(tier.select(item, fields, variant) is not None, there)

    def test_a_url_of_several_keys(self) -> None:
        tier = Tier(1 << 20)
        for key in (b"a", b"b", b"c"):
            tier.keep(copy_of(key))
        self.assertEqual(tier.keys_of(URL), {b"a", b"b", b"c"})
        tier.purge(Purge("url", URL, soft=True))
        self.assertTrue(all(copy.stored.invalidated for copy in self.copies(tier)))
        self.assert_listed(tier)
        tier.forget(response(b"b"))
        self.assertEqual(tier.keys_of(URL), {b"a", b"c"})

    def test_a_key_of_several_urls(self) -> None:
        """As where the query is not in the key."""
        tier = Tier(1 << 20)
        for number in range(5):
            tier.keep(copy_of(b"k", URL + b"?%d" % number))
            self.assert_listed(tier)
        tier.purge(Purge("url", URL + b"?1"))
        self.assertEqual(len(tier), 1)
        tier.purge(Purge("url", URL + b"?4"))
        self.assertEqual(len(tier), 0)
        self.assertEqual(tier._keys, {})

    def test_too_large(self) -> None:
        for language in (b"", b"de"):
            for before in (False, True):
                tier = Tier(20_000)
                if before:
                    tier.keep(copy_of(b"k", language=language))
                tier.keep(copy_of(b"k", language=language, size=30_000))
                self.assertEqual((len(tier), tier._keys), (0, {}))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["keep", "lists", "forget", "url", "soft", "key", "clear"]),
                st.sampled_from([b"a", b"b", b"c"]),
                st.sampled_from([URL, URL + b"1"]),
                st.sampled_from([b"", b"de", b"en"]),
                st.sampled_from([0, 500, 6000]),
            ),
            max_size=30,
        )
    )
    def test_listed_as_they_are(self, steps: list[tuple[str, bytes, bytes, bytes, int]]) -> None:
        tier = Tier(9000)
        for what, key, url, language, size in steps:
            copy = copy_of(key, url, language, size)
            if what == "keep":
                tier.keep(copy)
            elif what == "lists":
                tier.put_lists(key, (LANGUAGE, ()))
            elif what == "forget":
                tier.forget(copy.stored)
            elif what == "clear":
                tier.clear()
            elif what == "key":
                tier.purge(Purge("key", key))
            else:
                tier.purge(Purge("url", url, what == "soft"))
            self.assert_listed(tier)
            self.assertLessEqual(tier.size, tier.limit)
            weight = sum(map(weight_of, self.copies(tier)))
            weight += sum(1024 + 1 for i in tier.values() if isinstance(i, Varied))
            self.assertEqual(tier.size, weight)
