"""txrproxy: a production HTTP reverse proxy on Twisted.

The rooms, in the order imports may go (down only); ``docs/architecture.md`` has the picture::

    0  errors, config.schema            the reason table; the configuration classes
    1  http/                            RFC 9110 and 9112 on bytes, no Twisted, no clock
    2  routing/  balance/  filters/     what to do with a request, as values
    3  transport/                       Twisted's edge: sockets, deadlines, idle connections
    4  exchange  site  wiring           the life of one request; the server factory; pools
       resource  foreign                our tree in a twisted.web site; its resources in our tree
    5  observe/                         the access log
    6  config.toml  config.build        TOML to schema; schema to live objects
    7  service/  cli  demo              twistd, the command line, the demo origins
"""

__version__ = "0.1.0"
