"""txrproxy: a production HTTP reverse proxy on Twisted.

The rooms, in the order imports may go: down the ranks only, and never from one room to another of
the same rank. ``tests/test_layers.py`` reads this table and fails on an import that breaks it;
``docs/architecture.md`` has the picture::

    0  errors                               the reason table: every way an exchange can end
    0  metrics                              the table of all that is counted
    0  config.values config.forms config.schema      what a configuration is made of
    1  http                                 RFC 9110 and 9112 on bytes
    2  routing                              which route takes a request, and what is done with it
    2  balance                              which backend gets it
    2  filters                              whom a policy lets pass, and what it is told
    2  cache.stored cache.key cache.policy cache.entry   what a cache keeps of a response, and why
    3  transport tls                       Twisted's edge: sockets, TLS, deadlines, idle connections
    3  names                                names of backends, looked up, to members of pools
    3  cache                                the store: memory, files, index, collapsed requests
    3  withheld                             a response that waits until it was looked at, or seen to
    4  forwarding exchange actions caching fetching waiting playback site wiring foreign   requests
    5  resource stock                       the proxy within somebody else's site
    5  guards                               policies before a request goes on
    5  observe                              the access log and the error log
    5  waf                                  a firewall's rules, engines and filter
    5  health                               active checks of backends
    5  admin                                metrics and control over HTTP
    6  config                               TOML to schema; schema to live objects (build)
    7  demo demo_page demo_websocket        the origins of the demonstration
    6  table                                tables for a terminal
    7  control                              what the command asks a proxy that runs
    7  explain                              what becomes of a request, without sending it
    8  commands cache_cli                   the commands of txrproxy, by concern
    9  cli                                  the txrproxy command: puts them together
    8  service                              twistd

Ranks 0 to 2 decide: they import no Twisted and read no clock; time is an argument.
"""

__version__ = "0.1.0"
