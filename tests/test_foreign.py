from unittest import mock

from twisted.internet import reactor
from twisted.internet.interfaces import IPushProducer
from twisted.python.filepath import FilePath
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory
from twisted.web.static import Data, File
from twisted.web.wsgi import WSGIResource
from zope.interface import implementer

from tests.wires import Sockets, eventually, turn
from txrproxy import foreign
from txrproxy.config.problems import ConfigErrors
from txrproxy.config.toml import loads
from txrproxy.foreign import channel

made = None  # what a test mounts

ROUTE = """
version = 1
[server]
trusted_proxies = [{trusted}]
[listeners.http]
bind = ["127.0.0.1:8080"]
[policies.p]
body_limit = "{limit}"
request_headers = {{ set = {{ x-set = "by us" }}, remove = ["x-gone"] }}
response_headers = {{ add = {{ x-added = "yes" }} }}
[[routes]]
name = "app"
match = {{ {match} }}
use = {use}
resource = "tests.test_foreign:make"
"""


def make():
    return made


class Render(Resource):
    """Renders with a function of the request."""

    isLeaf = True

    def __init__(self, render):
        Resource.__init__(self)
        self.render = render


def show(request):
    """What a resource sees of where it is."""
    return repr((request.prepath, request.postpath, request.uri)).encode()


class ForeignCase(Sockets, TestCase):
    def mount(self, resource, path='["/app", "/app/*"]', trusted="", use="[]", limit="1KiB"):
        """Serve a resource; the port."""
        global made
        made = resource
        match = f"path = {path}" if path else ""
        text = ROUTE.format(match=match, trusted=trusted, use=use, limit=limit)
        graph, self.log = self.graph(text)
        self.site = graph.sites[0][1]
        self.port = self.listen(self.site)
        return self.port


class PlaceTests(ForeignCase):
    async def see(self, target, **options):
        port = self.mount(Render(show), **options)
        return (await self.ask(port, f"GET {target} HTTP/1.1")).body.decode()

    async def test_prefix(self):
        self.assertEqual(
            await self.see("/app/a/b%20c?q=%20"),
            repr(([b"app"], [b"a", b"b c"], b"/app/a/b%20c?q=%20")),
        )

    async def test_folder_itself(self):
        self.assertEqual(await self.see("/app/"), repr(([b"app"], [b""], b"/app/")))

    async def test_exact(self):
        self.assertEqual(await self.see("/app"), repr(([b"app"], [], b"/app")))

    async def test_everything(self):
        self.assertEqual(await self.see("/a/b", path='"/*"'), repr(([], [b"a", b"b"], b"/a/b")))

    async def test_no_path(self):
        self.assertEqual(await self.see("/", path=""), repr(([], [b""], b"/")))

    async def test_deep_prefix(self):
        self.assertEqual(
            await self.see("/x/y/z", path='"/x/y/*"'), repr(([b"x", b"y"], [b"z"], b"/x/y/z"))
        )

    async def test_prefix_within_a_segment(self):
        self.assertEqual(
            await self.see("/docs-old/a", path='"/docs*"'),
            repr(([], [b"docs-old", b"a"], b"/docs-old/a")),
        )

    async def test_prefix_that_ends_with_a_segment(self):
        self.assertEqual(
            await self.see("/docs/a", path='"/docs*"'), repr(([b"docs"], [b"a"], b"/docs/a"))
        )

    async def test_escaped_slash_stays_in_its_segment(self):
        self.assertEqual(await self.see("/app/a%2Fb"), repr(([b"app"], [b"a/b"], b"/app/a%2Fb")))

    async def test_escaped_prefix(self):
        self.assertEqual(await self.see("/%61pp%2fx"), repr(([b"app"], [b"x"], b"/%61pp%2fx")))

    async def test_dot_segments_are_resolved(self):
        self.assertEqual(await self.see("/app/a/../b"), repr(([b"app"], [b"b"], b"/app/a/../b")))

    async def test_options_of_everything(self):
        port = self.mount(Render(show), path="")
        response = await self.ask(port, "OPTIONS * HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.all(b"server"), [])

    async def test_children(self):
        root = Resource()
        root.putChild(b"leaf", Data(b"found", "text/plain"))
        port = self.mount(root)
        response = await self.ask(port, "GET /app/leaf HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b"found"))
        self.assertEqual((await self.ask(port, "GET /app/none HTTP/1.1")).status, 404)
        self.assertEqual(self.log.reasons, [b"resource", b"resource"])


class RequestTests(ForeignCase):
    async def fields(self, head, **options):
        """The request fields that a resource sees, names in lower case."""
        seen = {}

        def render(request):
            for name, values in request.requestHeaders.getAllRawHeaders():
                seen[name.lower()] = values
            seen["client"] = request.getClientAddress()
            seen["secure"] = request.isSecure()
            seen["host"] = request.getHost()
            seen["url"] = request.prePathURL()
            return b""

        await self.ask(self.mount(Render(render), **options), head)
        return seen

    async def test_a_client_can_not_pose_as_a_proxy(self):
        seen = await self.fields(
            "GET /app/ HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n"
            "X_Forwarded_For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n"
            "X-Request-Id: mine\r\n"
        )
        self.assertEqual(seen[b"x-forwarded-for"], [b"127.0.0.1"])
        self.assertEqual(seen[b"x-forwarded-proto"], [b"http"])
        self.assertEqual(seen[b"forwarded"], [b'host="example.com";for=127.0.0.1;proto=http'])
        self.assertNotEqual(seen[b"x-request-id"], [b"mine"])
        self.assertNotIn(b"x_forwarded_for", seen)
        self.assertNotIn(b"x-real-ip", seen)
        self.assertEqual(seen["client"].host, "127.0.0.1")
        self.assertGreater(seen["client"].port, 0)
        self.assertFalse(seen["secure"])
        self.assertEqual(seen["host"].port, 80)

    async def test_a_trusted_proxy_is_believed(self):
        seen = await self.fields(
            "GET /app/ HTTP/1.1\r\nX-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\n"
            "X-Request-Id: theirs\r\n",
            trusted='"127.0.0.0/8"',
        )
        self.assertEqual(seen[b"x-request-id"], [b"theirs"])
        self.assertEqual((seen["client"].host, seen["client"].port), ("2001:db8::1", 0))
        self.assertTrue(seen["secure"])
        self.assertEqual(seen["url"], b"https://example.com/app")

    async def test_hop_by_hop_fields_are_gone(self):
        seen = await self.fields(
            "GET /app/ HTTP/1.1\r\nConnection: x-mine\r\nX-Mine: 1\r\nTE: trailers\r\n"
            "Upgrade: websocket\r\nKeep-Alive: 1\r\nAccept: a\r\naccept: b\r\n"
        )
        for name in (b"connection", b"x-mine", b"te", b"upgrade", b"keep-alive"):
            self.assertNotIn(name, seen)
        self.assertEqual(seen[b"accept"], [b"a", b"b"])

    async def test_configured_changes(self):
        seen = await self.fields(
            "GET /app/ HTTP/1.1\r\nX-Gone: 1\r\nX-Set: theirs\r\n", use='["p"]'
        )
        self.assertEqual(seen[b"x-set"], [b"by us"])
        self.assertNotIn(b"x-gone", seen)

    async def test_http_1_0_without_host(self):
        seen = await self.fields("GET /app/ HTTP/1.0\r\n")
        self.assertNotIn(b"host", seen)
        self.assertEqual(seen["url"], b"http://127.0.0.1:%d/app" % self.port)

    async def test_unix_socket(self):
        def render(request):
            return repr((request.getClientAddress(), request.prePathURL())).encode()

        self.mount(Render(render))
        response = await self.ask_unix(self.site, "GET /app/ HTTP/1.1")
        self.assertEqual(response.body, b"(UNIXAddress(None), b'http://example.com/app')")

    async def body(self, head, body, **options):
        """What a resource reads of a request body."""
        seen = []

        def render(request):
            seen.append(
                (request.content.read(), request.getHeader(b"content-length"), request.args)
            )
            return b"read"

        response = await self.ask(self.mount(Render(render), **options), head, body)
        return response, seen

    async def test_body_with_length(self):
        _, seen = await self.body("POST /app/ HTTP/1.1\r\nContent-Length: 5\r\n", b"hello")
        self.assertEqual(seen, [(b"hello", b"5", {})])

    async def test_chunked_body(self):
        _, seen = await self.body(
            "POST /app/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        )
        self.assertEqual(seen, [(b"hello", b"5", {})])

    async def test_large_body(self):
        content = bytes(range(256)) * 1024
        _, seen = await self.body(
            f"PUT /app/ HTTP/1.1\r\nContent-Length: {len(content)}\r\n", content
        )
        self.assertEqual(seen, [(content, b"262144", {})])

    async def test_form(self):
        _, seen = await self.body(
            "POST /app/?q=1 HTTP/1.1\r\nContent-Length: 3\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"a=b",
        )
        self.assertEqual(seen, [(b"a=b", b"3", {b"q": [b"1"], b"a": [b"b"]})])

    async def test_large_form_is_left_alone(self):
        self.patch(channel, "MAX_FORM", 2)
        _, seen = await self.body(
            "POST /app/ HTTP/1.1\r\nContent-Length: 3\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"a=b",
        )
        self.assertEqual(seen, [(b"a=b", b"3", {})])

    async def test_bad_form(self):
        response, seen = await self.body(
            "POST /app/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Type: multipart/form-data\r\n",
            b"a=b",
        )
        self.assertEqual((response.status, seen), (400, []))
        self.assertEqual(self.log.reasons, [b"bad_form"])

    async def test_form_with_files(self):
        content = b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\nfile\r\n--x--'
        _, seen = await self.body(
            f"POST /app/?f=1 HTTP/1.1\r\nContent-Length: {len(content)}\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n",
            content,
        )
        self.assertEqual(seen[0][0], content)
        self.assertEqual(seen[0][2], {b"f": [b"file"]})

    async def test_declared_length_beyond_the_limit(self):
        response, seen = await self.body(
            "POST /app/ HTTP/1.1\r\nContent-Length: 1025\r\n", b"", use='["p"]'
        )
        self.assertEqual((response.status, seen), (413, []))
        self.assertEqual(self.log.reasons, [b"body_too_large"])

    async def test_chunks_beyond_the_limit(self):
        response, seen = await self.body(
            "POST /app/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            b"401\r\n" + b"x" * 0x401,
            use='["p"]',
        )
        self.assertEqual((response.status, seen), (413, []))

    async def test_bound_without_a_policy(self):
        self.patch(foreign, "MAX_BODY", 10)
        for head, body in (
            ("Content-Length: 11\r\n", b""),
            ("Transfer-Encoding: chunked\r\n", b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n"),
        ):
            response, seen = await self.body("POST /app/ HTTP/1.1\r\n" + head, body)
            self.assertEqual((response.status, seen), (413, []))

    async def test_broken_body(self):
        response, seen = await self.body(
            "POST /app/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", b"2\r\nab\r\nz"
        )
        self.assertEqual((response.status, seen), (400, []))

    async def test_expectation(self):
        wire = await self.connect(self.mount(Render(lambda request: request.content.read())))
        wire.send(
            b"POST /app/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        self.assertEqual(await wire.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
        wire.send(b"ok")
        self.assertTrue((await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n"))
        await wire.until(b"ok")

    async def test_client_gone_in_the_middle_of_a_body(self):
        files = []
        spool = channel._spool
        self.patch(channel, "_spool", lambda: files.append(spool()) or files[-1])
        rendered = []
        wire = await self.connect(self.mount(Render(rendered.append)))
        wire.send(b"POST /app/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        await eventually(lambda: files)
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.assertEqual(self.log.reasons, [b"client_aborted"])
        self.assertEqual(rendered, [])
        self.assertTrue(files[0].closed)

    async def test_client_gone_before_any_body(self):
        wire = await self.connect(self.mount(Render(lambda request: b"")))
        wire.send(b"POST /app/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        await eventually(lambda: [d for d in self.site.connections if d.exchange])
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.assertEqual(self.log.reasons, [b"client_aborted"])

    async def test_session(self):
        def render(request):
            session = request.getSession()
            session.count = getattr(session, "count", 0) + 1
            self.addCleanup(lambda: session.uid in session.site.sessions and session.expire())
            return b"%d" % session.count

        port = self.mount(Render(render), path='["/my%20app/*"]')
        first = await self.ask(port, "GET /my%20app/x HTTP/1.1")
        cookie = first.first(b"set-cookie").decode().partition(";")[0]
        self.assertTrue(cookie.startswith("TWISTED_SESSION_my_20app="), cookie)
        second = await self.ask(port, f"GET /my%20app/y HTTP/1.1\r\nCookie: {cookie}\r\n")
        self.assertEqual((first.body, second.body), (b"1", b"2"))


class ResponseTests(ForeignCase):
    async def test_bytes(self):
        def render(request):
            request.setResponseCode(201, b"Made")
            request.responseHeaders.setRawHeaders(b"X-Two", [b"1", b"2"])
            request.setHeader(b"Connection", b"x")
            request.setHeader(b"X-Request-Id", b"theirs")
            return b"body"

        response = await self.ask(self.mount(Render(render), use='["p"]'), "GET /app/ HTTP/1.1")
        self.assertEqual(response.line, b"HTTP/1.1 201 Made")
        self.assertEqual(response.body, b"body")
        self.assertEqual(response.all(b"x-two"), [b"1", b"2"])
        self.assertEqual(response.all(b"x-added"), [b"yes"])
        self.assertEqual(response.all(b"content-length"), [b"4"])
        self.assertEqual(response.all(b"connection"), [b"close"])
        self.assertEqual(response.all(b"server"), [])
        self.assertEqual(len(response.all(b"date")), 1)
        self.assertNotEqual(response.all(b"x-request-id"), [b"theirs"])
        self.assertEqual(self.log[0][6], 201)
        self.assertEqual(self.log[0][9], b"app")
        self.assertEqual(self.log.reasons, [b"resource"])

    async def test_own_server_field_stays(self):
        def render(request):
            request.setHeader(b"Server", b"mine")
            return b""

        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual(response.all(b"server"), [b"mine"])

    async def test_without_length(self):
        def render(request):
            request.write(b"one")
            request.write(b"two")
            request.finish()
            return NOT_DONE_YET

        port = self.mount(Render(render))
        response = await self.ask(port, "GET /app/ HTTP/1.1")
        self.assertEqual(response.all(b"transfer-encoding"), [b"chunked"])
        self.assertEqual(response.chunks, b"onetwo")
        response = await self.ask(port, "GET /app/ HTTP/1.0")
        self.assertEqual(response.all(b"transfer-encoding"), [])
        self.assertEqual(response.body, b"onetwo")
        response = await self.ask(port, "HEAD /app/ HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b""))

    async def test_nothing_written(self):
        def render(request):
            request.finish()
            return NOT_DONE_YET

        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual(response.chunks, b"")

    async def test_no_content(self):
        for status in (204, 304):

            def render(request, status=status):
                request.setResponseCode(status)
                return b""

            response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
            self.assertEqual((response.status, response.body), (status, b""))
            self.assertEqual(response.all(b"transfer-encoding"), [])

    async def test_later(self):
        requests = []

        def render(request):
            requests.append(request)
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render)))
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: requests)
        finished = requests[0].notifyFinish()
        requests[0].write(b"")
        self.assertTrue((await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK"))
        requests[0].write(b"event")
        await wire.until(b"5\r\nevent\r\n")
        self.assertNoResult(finished)
        requests[0].finish()
        await wire.until(b"0\r\n\r\n")
        self.assertIsNone(self.successResultOf(finished))
        self.assertEqual(self.log.reasons, [b"resource"])

    async def test_pipelined(self):
        wire = await self.connect(self.mount(Render(lambda request: request.uri)))
        wire.send(b"".join(b"GET /app/%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(300)))
        for n in range(300):
            await wire.until(b"\r\n\r\n/app/%d" % n)

    async def test_encoder(self):
        wrapped = EncodingResourceWrapper(
            Render(lambda request: b"x" * 1000), [GzipEncoderFactory()]
        )
        response = await self.ask(
            self.mount(wrapped), "GET /app/ HTTP/1.1\r\nAccept-Encoding: gzip\r\n"
        )
        self.assertEqual(response.all(b"content-encoding"), [b"gzip"])
        self.assertLess(len(response.chunks), 100)

    async def test_method_not_allowed(self):
        response = await self.ask(
            self.mount(Data(b"", "text/plain")), "POST /app HTTP/1.1\r\nContent-Length: 0\r\n"
        )
        self.assertEqual(response.status, 405)

    async def test_head_of_a_resource_that_knows_get_only(self):
        class Get(Resource):
            isLeaf = True

            def render(self, request):
                if request.method == b"HEAD":
                    from twisted.web.error import UnsupportedMethod

                    raise UnsupportedMethod([b"GET"])
                return b"four"

        response = await self.ask(self.mount(Get()), "HEAD /app HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual(response.all(b"content-length"), [b"4"])


class FailureTests(ForeignCase):
    async def fails(self, render, error):
        """The response when a resource misbehaves before it has sent anything."""
        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertTrue(self.flushLoggedErrors(error))
        self.assertEqual(self.log.reasons, [b"resource_failed"])
        self.assertEqual(response.status, 500)
        self.assertNotIn(b"secret", response.body)
        self.assertNotIn(b"Traceback", response.body)
        self.assertIn(b"The application failed.", response.body)
        return response

    async def test_exception(self):
        def render(request):
            raise LookupError("secret")

        await self.fails(render, LookupError)

    async def test_no_bytes(self):
        await self.fails(lambda request: "secret", TypeError)

    async def test_exception_on_the_way(self):
        class Broken(Resource):
            def getChild(self, name, request):
                raise LookupError("secret")

        response = await self.ask(self.mount(Broken()), "GET /app/x HTTP/1.1")
        self.assertEqual(response.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    async def test_bad_status(self):
        def render(request):
            request.setResponseCode(100)
            return b""

        await self.fails(render, ValueError)

    async def test_response_splitting(self):
        def render(request):
            request.setResponseCode(200, b"OK\r\nX-Injected: 1")
            return b""

        self.assertEqual((await self.fails(render, ValueError)).all(b"x-injected"), [])

    async def test_bad_field(self):
        def render(request):
            request.setHeader(b"X-Bad", b"a\0b")
            return b""

        await self.fails(render, ValueError)

    async def test_bad_length(self):
        def render(request):
            request.setHeader(b"Content-Length", b"-1")
            request.write(b"x")

        await self.fails(render, ValueError)

    async def test_more_than_promised(self):
        def render(request):
            request.setHeader(b"Content-Length", b"2")
            request.write(b"abc")

        await self.fails(render, ValueError)

    async def test_less_than_promised(self):
        def render(request):
            request.setHeader(b"Content-Length", b"5")
            request.write(b"abc")
            request.finish()
            return NOT_DONE_YET

        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual((response.first(b"content-length"), response.body), (b"5", b"abc"))
        self.assertEqual(self.log.reasons, [b"resource_failed"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    async def test_exception_in_the_middle(self):
        def render(request):
            request.write(b"begun")
            raise LookupError("secret")

        port = self.mount(Render(render))
        response = await self.ask(port, "GET /app/ HTTP/1.1")
        self.assertEqual(response.body, b"5\r\nbegun\r\n")  # and no last chunk
        wire = await self.connect(port)
        wire.send(b"GET /app/ HTTP/1.0\r\n\r\n")
        await wire.lost
        self.assertIn("non-clean", str(wire.gone.value))  # a reset
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)
        self.assertEqual(self.log.reasons, [b"resource_failed"] * 2)

    async def test_resource_closes(self):
        finished = []

        def render(request):
            request.notifyFinish().addErrback(finished.append)
            request.write(b"begun")
            request.loseConnection()
            return NOT_DONE_YET

        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual(response.body, b"5\r\nbegun\r\n")
        self.assertEqual(len(finished), 1)

    async def test_failure_after_the_client_has_gone(self):
        requests = []

        def render(request):
            requests.append(request)
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render)))
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: requests)
        gone = requests[0].notifyFinish()
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.failureResultOf(gone)
        self.assertEqual(self.log.reasons, [b"client_aborted"])
        requests[0].write(b"nobody reads this")
        from twisted.python.failure import Failure

        requests[0].processingFailed(Failure(LookupError()))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    async def test_failure_in_notify_finish(self):
        def render(request):
            raise LookupError

        def connection_lost(self, reason):
            raise KeyError

        self.patch(channel.ForeignRequest, "connectionLost", connection_lost)
        self.assertEqual(
            (await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")).status, 500
        )
        self.assertEqual(len(self.flushLoggedErrors(LookupError, KeyError)), 2)


@implementer(IPushProducer)
class Push:
    """Writes until it is told to stop."""

    def __init__(self, request):
        self.request = request
        self.calls = []
        self.written = 0
        self.running = True

    def run(self):
        if self.running:
            self.request.write(b"x" * 65536)
            self.written += 65536
            self.call = reactor.callLater(0, self.run)

    def pauseProducing(self):
        self.calls.append("pause")
        self.running = False

    def resumeProducing(self):
        self.calls.append("resume")
        self.running = True
        self.run()

    def stopProducing(self):
        self.calls.append("stop")
        self.running = False


class Pull:
    def __init__(self, request, pieces):
        self.request = request
        self.pieces = iter(pieces)
        self.written = 0
        self.stopped = False

    def resumeProducing(self):
        piece = next(self.pieces, None)
        if piece is None:
            self.request.unregisterProducer()
            self.request.finish()
        else:
            self.written += len(piece)
            self.request.write(piece)

    def stopProducing(self):
        self.stopped = True


class BackpressureTests(ForeignCase):
    async def begin(self, producer, streaming, **options):
        """A wire that does not read, and the producer behind it."""
        made = []

        def render(request):
            made.append(producer(request))
            request.registerProducer(made[0], streaming)
            if streaming:
                made[0].run()
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render), **options))
        wire.transport.pauseProducing()
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: made)
        return wire, made[0]

    def queued(self):
        (downstream,) = self.site.connections
        transport = downstream.transport
        return len(transport.dataBuffer) + transport._tempDataLen

    async def test_push(self):
        wire, push = await self.begin(Push, True)
        await eventually(lambda: push.calls == ["pause"])
        written = push.written
        for _ in range(50):
            await turn()
        self.assertEqual(push.written, written)
        self.assertLess(self.queued(), 256 * 1024)
        wire.transport.resumeProducing()
        await eventually(lambda: push.calls[:2] == ["pause", "resume"])
        wire.transport.abortConnection()
        await eventually(lambda: push.calls[-1] == "stop")

    async def test_pull(self):
        size = 64 << 20
        wire, pull = await self.begin(
            lambda request: Pull(request, (b"x" * 65536 for _ in range(size // 65536))), False
        )
        await eventually(self.queued)
        written = pull.written
        for _ in range(50):
            await turn()
        self.assertEqual(pull.written, written)
        self.assertLess(written, size)
        self.assertLess(self.queued(), 256 * 1024)
        wire.transport.abortConnection()
        await eventually(lambda: pull.stopped)
        self.assertEqual(self.log.reasons, [b"client_aborted"])

    async def test_pull_to_the_end(self):
        def render(request):
            request.registerProducer(Pull(request, [b"a", b"b"]), False)
            return NOT_DONE_YET

        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual(response.chunks, b"ab")

    async def test_producer_that_fails(self):
        class Broken(Pull):
            def resumeProducing(self):
                raise LookupError

        def render(request):
            request.registerProducer(Broken(request, []), False)
            return NOT_DONE_YET

        response = await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual(response.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    async def test_two_producers(self):
        def render(request):
            request.channel.registerProducer(Push(request), True)
            request.channel.registerProducer(Push(request), True)

        await self.ask(self.mount(Render(render)), "GET /app/ HTTP/1.1")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_a_resource_that_does_not_wait(self):
        """What it is ahead of its client goes to a file, not to memory."""
        total = 16 << 20

        def render(request):
            for n in range(total // 65536):
                request.write(bytes([n % 256]) * 65536)
            request.finish()
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render)))
        wire.transport.pauseProducing()
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await eventually(lambda: self.site.connections and self.queued())
        self.assertLess(self.queued(), 256 * 1024)
        wire.transport.resumeProducing()
        await wire.lost
        from tests.wires import Response

        content = Response(wire.data).chunks
        self.assertEqual(len(content), total)
        self.assertEqual(content[::65536], bytes(n % 256 for n in range(total // 65536)))
        self.assertEqual(self.log.reasons, [b"resource"])

    async def test_client_gone_while_a_file_waits(self):
        requests = []

        def render(request):
            requests.append(request.channel)
            for _ in range(256):
                request.write(b"x" * 65536)
            request.finish()
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render)))
        wire.transport.pauseProducing()
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: requests)
        self.assertIsNotNone(requests[0]._unsent)
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.assertIsNone(requests[0]._unsent)
        self.assertEqual(self.log.reasons, [b"client_aborted"])

    async def test_a_resource_that_is_too_far_ahead(self):
        self.patch(channel, "MAX_UNSENT", 1 << 20)

        def render(request):
            for _ in range(256):
                request.write(b"x" * 65536)
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render)))
        wire.transport.pauseProducing()
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: self.log)
        self.assertEqual(self.log.reasons, [b"resource_failed"])
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)

    async def test_producer_registered_while_the_client_does_not_read(self):
        pushes = []

        def render(request):
            for _ in range(256):
                request.write(b"x" * 65536)
            pushes.append(Push(request))
            request.registerProducer(pushes[0], True)
            return NOT_DONE_YET

        wire = await self.connect(self.mount(Render(render)))
        wire.transport.pauseProducing()
        wire.send(b"GET /app/ HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: pushes)
        self.assertEqual(pushes[0].calls, ["pause"])
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.assertEqual(pushes[0].calls[-1], "stop")


class FileTests(ForeignCase):
    def setUp(self):
        self.root = FilePath(self.mktemp())
        self.root.makedirs()
        self.content = bytes(range(256)) * 4096
        self.root.child("large.bin").setContent(self.content)
        self.root.child("folder").makedirs()
        self.root.child("folder").child("index.html").setContent(b"<p>index")
        self.root.sibling("outside").setContent(b"secret")
        self.mount(File(self.root.path))

    async def test_whole(self):
        response = await self.ask(self.port, "GET /app/large.bin HTTP/1.1")
        self.assertEqual(response.first(b"content-length"), b"%d" % len(self.content))
        self.assertEqual(response.body, self.content)

    async def test_head(self):
        response = await self.ask(self.port, "HEAD /app/large.bin HTTP/1.1")
        self.assertEqual(response.first(b"content-length"), b"%d" % len(self.content))
        self.assertEqual(response.body, b"")

    async def test_range(self):
        response = await self.ask(
            self.port, "GET /app/large.bin HTTP/1.1\r\nRange: bytes=10-19\r\n"
        )
        self.assertEqual((response.status, response.body), (206, self.content[10:20]))
        response = await self.ask(
            self.port, "GET /app/large.bin HTTP/1.1\r\nRange: bytes=0-0,5-6\r\n"
        )
        self.assertEqual(response.status, 206)
        self.assertIn(b"multipart/byteranges", response.first(b"content-type"))
        response = await self.ask(
            self.port, "GET /app/large.bin HTTP/1.1\r\nRange: bytes=9999999-\r\n"
        )
        self.assertEqual(response.status, 416)

    async def test_index(self):
        response = await self.ask(self.port, "GET /app/folder/ HTTP/1.1")
        self.assertEqual((response.status, response.body), (200, b"<p>index"))

    async def test_folder_without_its_slash(self):
        response = await self.ask(self.port, "GET /app/folder?a=b HTTP/1.1")
        self.assertEqual(response.status, 302)
        self.assertEqual(response.first(b"location"), b"/app/folder/?a=b")

    async def test_not_modified(self):
        first = await self.ask(self.port, "HEAD /app/large.bin HTTP/1.1")
        since = first.first(b"last-modified").decode()
        response = await self.ask(
            self.port, f"GET /app/large.bin HTTP/1.1\r\nIf-Modified-Since: {since}\r\n"
        )
        self.assertEqual((response.status, response.body), (304, b""))

    async def test_nothing_outside(self):
        for path in ("..%2foutside", "%2e%2e/outside", "folder/../../outside", "..%5coutside"):
            response = await self.ask(self.port, f"GET /app/{path} HTTP/1.1")
            self.assertIn(response.status, (400, 404), path)
            self.assertNotIn(b"secret", response.body)

    async def test_client_that_does_not_read(self):
        self.root.child("huge.bin").setContent(b"x" * (64 << 20))
        wire = await self.connect(self.port)
        wire.transport.pauseProducing()
        wire.send(b"GET /app/huge.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: [d for d in self.site.connections if d._writing])
        (downstream,) = self.site.connections
        for _ in range(20):
            await turn()
        transport = downstream.transport
        self.assertLess(len(transport.dataBuffer) + transport._tempDataLen, 256 * 1024)
        wire.transport.abortConnection()
        await eventually(lambda: self.log)
        self.assertEqual(self.log.reasons, [b"client_aborted"])


class WSGITests(ForeignCase):
    def setUp(self):
        self.pool = ThreadPool(0, 2)
        self.pool.start()
        self.addCleanup(self.pool.stop)

    def wsgi(self, application, **options):
        return self.mount(WSGIResource(reactor, self.pool, application), **options)

    async def test_application(self):
        def application(environ, start):
            body = environ["wsgi.input"].read()
            names = (
                "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING CONTENT_LENGTH SERVER_NAME"
                " SERVER_PORT wsgi.url_scheme HTTP_X_FORWARDED_FOR"
            )
            start("201 Made", [("Content-Type", "text/plain")])
            return [repr([environ[name] for name in names.split()]).encode(), b"\n", body]

        response = await self.ask(
            self.wsgi(application),
            "POST /app/x/y?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            "X-Forwarded-For: 9.9.9.9\r\n",
            b"4\r\nbody\r\n0\r\n\r\n",
        )
        self.assertEqual(response.line, b"HTTP/1.1 201 Made")
        seen, _, body = response.chunks.partition(b"\n")
        self.assertEqual(body, b"body")
        self.assertEqual(
            eval(seen),
            ["POST", "/app", "/x/y", "q", "4", "example.com", "80", "http", "127.0.0.1"],
        )

    async def test_failure(self):
        def application(environ, start):
            raise LookupError

        response = await self.ask(self.wsgi(application), "GET /app HTTP/1.1")
        self.assertEqual((response.status, response.chunks), (500, b""))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    async def test_failure_in_the_middle(self):
        def application(environ, start):
            start("200 OK", [])
            yield b"begun"
            raise LookupError

        response = await self.ask(self.wsgi(application), "GET /app HTTP/1.1")
        self.assertEqual(response.body, b"5\r\nbegun\r\n")
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(self.log.reasons, [b"resource_failed"])


class WhatIsMountedTests(SynchronousTestCase):
    def mount(self, found):
        from txrproxy.routing.match import Conditions

        return foreign.serve_resource(found, Conditions(), mock.Mock())

    def test_resource(self):
        self.assertTrue(callable(self.mount(Resource())))

    def test_class(self):
        self.assertTrue(callable(self.mount(Resource)))

    def test_function(self):
        self.assertTrue(callable(self.mount(lambda: Data(b"", "text/plain"))))

    def test_neither(self):
        with self.assertRaisesRegex(TypeError, "neither an IResource nor"):
            self.mount("text")
        with self.assertRaisesRegex(TypeError, "gave int, which is no IResource"):
            self.mount(int)

    def test_configuration(self):
        from txrproxy.config.build import build

        for name in ("sys:path", "no.such:thing", "tests.test_foreign:nothing"):
            text = ROUTE.format(match="", trusted="", use="[]", limit="1KiB")
            config = loads(text.replace("tests.test_foreign:make", name))
            with self.assertRaises(ConfigErrors) as raised:
                build(config, mock.Mock())
            self.assertIn(f"routes.app.resource: {name}: ", str(raised.exception))
