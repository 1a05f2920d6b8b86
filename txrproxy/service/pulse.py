"""Workers that hang are found: in a library that never returns, in a loop without end, stopped.

Such a process is not dead, so nobody hears of it; and what waits in its sockets waits on. Each
worker is asked from time to time, which costs it a few microseconds, and one that has left several
questions in a row without an answer is killed, and replaced as after any death.

Questions are counted, and not only seconds: when the whole machine, or the container, stands still
for a while, nobody is to blame, and everyone gets the time to answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from txrproxy.service.processes import Handle

if TYPE_CHECKING:
    from txrproxy.service.master import Master

_QUESTIONS = 3  # left open in a row, so many make a worker one that hangs
_IDLE = 10.0  # seconds between two looks at a configuration that asks for none

_logger = Logger()


class Pulse:
    """Of the workers that ``master`` has; ``server.worker_timeout`` is how long they may hang."""

    def __init__(self, master: Master, reactor: Any) -> None:
        self._master = master
        self._reactor = reactor
        self._open: dict[Handle, int] = {}  # how many questions, each longer ago, by worker
        self._call: Any = None

    def start(self) -> None:
        """Ask from now on."""
        timeout = self._master.config.server.worker_timeout
        self._call = self._reactor.callLater(timeout / _QUESTIONS or _IDLE, self._look, timeout)

    def stop(self) -> None:
        """Ask no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self, timeout: float) -> None:
        if timeout:
            workers = self._master.processes
            self._open = {each: self._open.get(each, 0) for each in workers}
            for worker in workers:
                self._ask(worker, timeout)
        self.start()

    def _ask(self, worker: Handle, timeout: float) -> None:
        missed = self._open[worker]
        if missed >= _QUESTIONS:
            _logger.error(
                "{worker} has hung for {timeout} s, and is ended", worker=worker, timeout=timeout
            )
            worker.kill()
            return
        self._open[worker] = missed + 1
        if not missed:
            call = worker.channel.call("pulse")
            call.addCallbacks(lambda _: self._answered(worker), lambda _: None)

    def _answered(self, worker: Handle) -> None:
        if worker in self._open:
            self._open[worker] = 0
