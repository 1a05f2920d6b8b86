"""Makes ``twistd txrproxy`` known; nothing heavy is imported until it is chosen."""

from twisted.application.service import ServiceMaker

txrproxy = ServiceMaker(
    "txrproxy",
    "txrproxy.service.tap",
    "An HTTP reverse proxy: routes, backend pools, TLS, cache.",
    "txrproxy",
)
