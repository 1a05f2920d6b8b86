"""Twisted's own reverse proxy as it comes: ``python stock_proxy.py PORT ORIGIN LOG``."""

# mypy: ignore-errors

import sys

from twisted.internet import reactor
from twisted.web.proxy import ReverseProxyResource
from twisted.web.server import Site

port, origin, log = sys.argv[1:]
site = Site(ReverseProxyResource("127.0.0.1", int(origin), b""), logPath=log)
reactor.listenTCP(int(port), site, interface="127.0.0.1", backlog=4096)
reactor.run()
