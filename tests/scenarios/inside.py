"""What clients must never be told: where the backends are.

Every scenario has an :class:`Inside`. It knows the addresses, names, ports and Unix paths of its
origins and pools, and looks for them in every byte that a client of the scenario receives: heads,
bodies, error pages, whatever is written into a tunnel. What it finds fails the test when it ends.

An origin that speaks of itself in a body is one that wants to: ``allow`` what it says. An address
of loopback without a port is no secret, since the proxy is at the same.
"""

import ipaddress

LONGEST = 256  # bytes of a name; what two pieces share of one is found up to that
_AROUND = 60


class Inside:
    """``pools()`` gives the pools that there are now."""

    def __init__(self, pools=lambda: ()):
        self.found = []
        self._pools = pools
        self._names = set()
        self._allowed = set()

    def add(self, *names):
        """These, too, belong to the inside."""
        self._names.update(names)

    def allow(self, *names):
        """These may be seen, where an origin tells of itself on purpose."""
        self._allowed.update(names)

    @property
    def names(self):
        """Everything that is not to be seen."""
        known = set(self._names)
        for pool in self._pools():
            for address in pool.own | {backend.name for backend in pool.backends}:
                known.update(_parts(address.lower()))
        return known - self._allowed

    def look(self, wire, before, data):
        """Look for them in ``data``, of which ``before`` is what came last before it."""
        text = (before + data).lower()
        for name in self.names:
            at = text.find(name)
            while at >= 0:
                end = at + len(name)
                # A whole one: neither "app" in "application" nor port 8080 in 80801.
                if end > len(before) and _ends(text[end : end + 1]) and _begins(text, at):
                    seen = text[max(0, at - _AROUND) : end + _AROUND]
                    self.found.append(f"{wire.name} was told of {name.decode()} in {seen!r}")
                at = text.find(name, end)


def _ends(after):
    return not (after.isalnum() or after in (b"-", b"_"))


def _begins(text, at):
    return text[at : at + 1] in b":/[" or _ends(text[at - 1 : at] if at else b"")


def _parts(address):
    """The forms in which an address gives itself away."""
    if address.startswith(b"unix:"):
        yield address.removeprefix(b"unix:")
        return
    address = address.rpartition(b"://")[2]
    host, colon, port = address.rpartition(b":")
    if not colon or not port.isdigit():
        host, port = address, b""
    if port not in (b"", b"80", b"443"):
        yield b":" + port
    if not _is_local(host):
        yield host


def _is_local(host):
    try:
        return ipaddress.ip_address(host.decode().strip("[]")).is_loopback
    except ValueError:
        return host == b"localhost"
