"""txrproxy: a production HTTP reverse proxy on Twisted.

The rooms, in the order imports may go: down the ranks only, and never from one room to another of
the same rank. ``tests/test_layers.py`` reads this table and fails on an import that breaks it;
``docs/architecture.md`` has the picture::

    0  errors                               the reason table: every way an exchange can end
    0  config.values config.forms config.schema      what a configuration is made of
    1  http                                 RFC 9110 and 9112 on bytes
    2  routing                              which route takes a request, and what is done with it
    2  balance                              which backend gets it
    2  cache.stored cache.key cache.policy   what a cache keeps of a response, and decides
    3  transport tls                       Twisted's edge: sockets, TLS, deadlines, idle connections
    4  forwarding exchange actions site wiring foreign resource     the life of a request; resources
    5  observe                              the access log and the error log
    5  waf                                  a firewall's rules, engines and filter
    5  health                               active checks of backends
    6  config                               TOML to schema; schema to live objects (build)
    7  demo demo_websocket                  the origins of the demonstration
    7  control                              what the command asks a proxy that runs
    8  cli                                  the txrproxy command
    8  service                              twistd

Ranks 0 to 2 decide: they import no Twisted and read no clock; time is an argument.
"""

__version__ = "0.1.0"
