"""Makes ``twistd -r txrproxy`` choose the lean epoll reactor."""

from twisted.application.reactors import Reactor

txrproxy = Reactor("txrproxy", "txrproxy.transport.reactor", "lean epoll(7) reactor of txrproxy.")
