"""From one version of the program to the next, while both run: the sockets go from hand to hand.

::

    old ── starts the same command, with one end of a channel
    new    reads the configuration, gets the sockets and what people want of backends, makes its
           workers
    new ── "ready" ──▶ old: drains and ends

Until then the old one goes on as if nothing were; a new one that ends, or is not ready in time, is
dropped. It says why, if it can: "refused".
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from txrproxy.config.schema import Config
from txrproxy.config.values import Bind
from txrproxy.service.sockets import Group, absolute, addresses, messages
from txrproxy.transport.channel import Body, Channel, NoReactor, Refused, socket_pair, wait

VARIABLE = "TXRPROXY_PREDECESSOR"  # of the environment: the descriptor of the channel

DEADLINE = 60.0  # seconds for a new version to become ready
_HANDING = 10.0  # seconds for the sockets to arrive


class Successor:
    """A new process of the same command. ``ready`` fires with its ``pid``, or :class:`Refused`."""

    def __init__(self, reactor: Any, groups: Mapping[str, Group], wanted: Body) -> None:
        self.ready: Deferred[Body] = Deferred()
        self._reactor = reactor
        self._why = "ended before it was ready; the log tells why"
        ours, theirs = socket_pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env={**os.environ, VARIABLE: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
            )
        self._channel = Channel(reactor, ours, self._lost)
        self._channel.register("ready", self._is_ready)
        self._channel.register("refused", self._refused)
        for body in messages(groups):
            self._channel.send("sockets", body, body.pop("fds"))
        self._channel.send("wanted", wanted)
        self._channel.send("all")
        self._late = reactor.callLater(DEADLINE, self._drop, "was not ready in time")

    def _is_ready(self, body: Body) -> None:
        self._end()
        self.ready.callback(body)

    def _refused(self, body: Body) -> None:
        self._why = f"can not serve: {body['why']}"

    def _lost(self) -> None:
        self._drop(self._why)

    def _drop(self, why: str) -> None:
        self._end()
        self._process.kill()
        self._process.wait()
        self.ready.errback(Refused(f"the new process {why}"))

    def _end(self) -> None:
        if self._late.active():
            self._late.cancel()
        self._channel.close()


def is_successor() -> bool:
    """Whether this process was started by an upgrade, and :func:`predecessor` was not asked yet."""
    return os.environ.get(VARIABLE, "").isdigit()


def refuse(why: str) -> None:
    """Before :func:`predecessor` is asked: tell the process before that this one can not serve."""
    if is_successor():
        link = socket.socket(fileno=os.dup(int(os.environ[VARIABLE])))
        channel = Channel(NoReactor(), link)
        channel.send("refused", {"why": why})
        channel.close()


def predecessor(reactor: Any) -> Channel | None:
    """The channel to the process that this one is to succeed, if there is one; asked once."""
    fd = os.environ.pop(VARIABLE, "")
    if not fd.isdigit():
        return None
    link = socket.socket(fileno=int(fd))
    link.set_inheritable(False)
    return Channel(reactor, link)


def admin_key(config: Config) -> str:
    """The key of the admin server's socket among those that go from hand to hand."""
    assert config.admin is not None
    return f"admin {absolute(config, config.admin.listen)}"


def receive(channel: Channel, config: Config) -> dict[str, Group]:
    """The sockets of the process before: those that the configuration names, and Unix ones.

    The file of a Unix socket that it no longer names is still to be removed. For before the reactor
    runs. Raises :class:`Refused` and TimeoutError.
    """
    found = {key: Group(address) for key, address in addresses(config)}
    if config.admin is not None:
        found[admin_key(config)] = Group(config.admin.listen)
    done: Deferred[None] = Deferred()

    def take(body: Body) -> None:
        for key, fd in zip(body["keys"], body["fds"], strict=True):
            if key not in found and key.startswith("unix:"):
                found[key] = Group(Bind("unix", name=key.removeprefix("unix:")))
            if key in found:
                found[key].sockets.append(socket.socket(fileno=fd))
            else:
                os.close(fd)

    channel.register("sockets", take)
    channel.register("all", lambda _: done.callback(None))
    wait([channel], done, _HANDING)
    return {key: group for key, group in found.items() if group.sockets}
