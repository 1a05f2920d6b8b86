"""What the demonstration shows: its page, and what there is to try."""

from __future__ import annotations

import html
from collections.abc import Iterable

TRY = (
    ("/", "which of the two origins answers; Birch is slow now and then"),
    ("/headers", "what the origin gets to see, as JSON"),
    ("/slow?seconds=2", "an answer that takes its time"),
    ("/bytes/10000000", "a stream of bytes; up to 1 GiB"),
    ("/events", "server-sent events, one a second (curl -N)"),
    ("/ws", "a WebSocket echo"),
    ("/upload", "POST anything: its length and SHA-256"),
    ("/status/404", "any status"),
    ("/away?seconds=10", "the origin that answers is gone for a while: see who notices"),
    ("/redirect", "names the origin's own address; the proxy makes it public"),
    ("/static/demo.css", "something cacheable: Cache-Status tells of hits (curl -i)"),
    ("/report", "slow to make, good for 10 s, and then served stale while a new one is made"),
)

CSS = b"""\
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 48rem; margin: 3rem auto; padding: 0 1rem }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; overflow-wrap: anywhere }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<link rel="stylesheet" href="/static/demo.css">
<h1>{name} answered</h1>
<p>Reload, and the other one does. Event: <output id="event">-</output>.
WebSocket: <output id="echo">-</output>.</p>
<h2>Try</h2>
<ul>
{links}
</ul>
<h2>The request, as it came here</h2>
<table>
{fields}
</table>
<script>
const show = (id, text) => document.getElementById(id).textContent = text
new EventSource("/events").onmessage = event => show("event", event.data)
const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws")
socket.onopen = () => socket.send("echoed")
socket.onmessage = message => show("echo", message.data)
</script>
</html>
"""


def page(name: str, request: Iterable[tuple[str, str]]) -> bytes:
    """The page of the origin with this name, which had these fields in its request."""
    links = (
        f'<li><a href="{html.escape(path)}"><code>{html.escape(path)}</code></a>: {text}'
        for path, text in TRY
    )
    fields = (f"<tr><td>{html.escape(name)}<td>{html.escape(value)}" for name, value in request)
    text = _PAGE.format(name=name, links="\n".join(links), fields="\n".join(fields))
    return text.encode("utf-8")


def listing(base: str) -> str:
    """What there is to try at this URL, for a terminal."""
    width = max(len(path) for path, _ in TRY) + len(base)
    return "Try:\n" + "".join(f"  {base + path:{width}}  {text}\n" for path, text in TRY)
