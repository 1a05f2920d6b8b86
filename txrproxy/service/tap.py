"""``twistd txrproxy --config FILE``: the options, and the service that runs a configuration."""

from __future__ import annotations

import sys
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from txrproxy.config.problems import ConfigErrors
from txrproxy.config.schema import Config
from txrproxy.config.toml import load_with_warnings
from txrproxy.transport.reactor import install_unless_chosen


class Options(usage.Options):
    """The command line of ``twistd txrproxy``."""

    optParameters = [["config", "c", None, "The configuration, a TOML file (required)."]]
    longdesc = "Runs the reverse proxy that a configuration file describes."

    def __init__(self) -> None:
        # twistd makes the options when the reactor that -r names is installed, or none is.
        install_unless_chosen()
        super().__init__()
        self.loaded: Config

    def postOptions(self) -> None:
        if self["config"] is None:
            raise usage.UsageError("--config FILE is required")
        try:
            self.loaded, warnings = load_with_warnings(self["config"], files=True)
        except ConfigErrors as errors:
            print(errors, file=sys.stderr)
            raise SystemExit(1) from None
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def makeService(options: Options) -> IService:
    """The service of a loaded configuration."""
    from twisted.internet import reactor  # noqa: PLC0415: Options has chosen it

    from txrproxy import demo
    from txrproxy.service.edge import Edge  # noqa: PLC0415: imports the reactor's modules

    edge: Any = Edge(options.loaded, reactor)
    origins = demo.service_for(options.loaded)
    if origins is None:
        return edge  # type: ignore[no-any-return]
    print(demo.banner(options.loaded), flush=True)
    both: Any = MultiService()
    for service in (origins, edge):
        service.setServiceParent(both)
    return both  # type: ignore[no-any-return]
