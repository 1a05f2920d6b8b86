"""Requests before the web application firewall: a real engine, with a few rules of our own."""

import base64
import json
import os
import signal
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.scenarios.harness import EMPTY_OK, GET, Scenario, ok
from tests.waf import own

EVIL = b"GET /?a=evil HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def form(body):
    return POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Firewalled(Scenario):
    """A proxy with a firewall, whose engine is there."""

    async def walled(self, engine="", waf="", others=(), **parts):
        rules = own.write(Path(self.mktemp()).absolute())
        self.audit = rules.with_name("audit.log")
        policy = f'waf = {{ rules = ["{rules}"] {waf} }}\n' + parts.pop("policy", "")
        more = f'[waf]\naudit = {{ path = "{self.audit}" }}\n{engine}\n' + parts.pop("more", "")
        origin = await self.origin()
        proxy = await self.proxy(origin, *others, policy=policy, more=more, **parts)
        proxy.graph.firewalls.start()
        await proxy.graph.firewalls.engines.ready()
        return origin, proxy, await self.client(proxy)

    def lines(self):
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    async def dead(self, proxy, pid):
        engines = proxy.graph.firewalls.engines
        await self.until(lambda: pid not in engines.pids, "the engine to be gone")

    async def alive(self, proxy):
        engines = proxy.graph.firewalls.engines
        await self.until(lambda: engines._idle, "an engine to be there")


class _Echo(Resource):
    isLeaf = True

    def render_POST(self, request):
        return request.content.read()


def echo():
    """What a route names as its resource."""
    return _Echo()


class InspectionTests(Firewalled):
    async def test_honest_requests_pass(self):
        origin, _proxy, client = await self.walled()
        await self.exchange(client, origin)
        seen, response = await self.exchange(client, origin, form(b"a=1"))
        self.assertEqual(seen.body, b"a=1")
        self.assertEqual(response.status, 200)
        self.assertEqual(self.lines(), [])

    async def test_an_attack_reaches_no_origin(self):
        origin, proxy, client = await self.walled()
        response = await self.ask(client, EVIL)
        self.assertEqual(response.status, 403)
        self.assertNotIn(b"evil", response.body)
        self.assertEqual((await proxy.log.record()).reason, b"waf_blocked")
        self.assertEqual(origin.wires, [])
        (line,) = self.lines()
        self.assertEqual((line["action"], line["score"]), ("blocked", 5))
        self.assertEqual(line["request_id"], response.get(b"x-request-id").decode())
        self.assertEqual(line["rules"][0]["variable"], "ARGS:a")
        await self.exchange(client, origin)  # on the same connection

    async def test_detection_lets_it_through(self):
        origin, proxy, client = await self.walled(waf=', mode = "detect"')
        _, response = await self.exchange(client, origin, EVIL)
        self.assertEqual(response.status, 200)
        self.assertEqual(self.lines()[0]["action"], "detected")
        self.assertEqual(proxy.log.reasons, [b"ok"])

    async def test_off_starts_nothing(self):
        origin = await self.origin()
        proxy = await self.proxy(origin, policy='waf = { mode = "off" }')
        self.assertIsNone(proxy.graph.firewalls.engines)
        await self.exchange(await self.client(proxy), origin, EVIL)

    async def test_the_last_policy_decides(self):
        origin, _proxy, client = await self.walled(
            more='[policies.free]\nwaf = { mode = "off" }\n[[routes]]\nname = "free"\n'
            'match = { path = "/free" }\npool = "app"\nuse = ["rules", "free"]\n'
        )
        await self.exchange(client, origin, EVIL.replace(b"/?", b"/free?"))
        self.assertEqual((await self.ask(client, EVIL)).status, 403)

    async def test_excluded_rules_do_not_count(self):
        origin, _proxy, client = await self.walled(waf=', exclude = ["attack-test"]')
        await self.exchange(client, origin, EVIL)

    async def test_redirects_and_own_responses_are_guarded_too(self):
        _origin, _proxy, client = await self.walled(
            more='[[routes]]\nname = "own"\nmatch = { path = "/own" }\n'
            'respond = { body = "hi" }\nuse = ["rules"]\n'
        )
        self.assertEqual((await self.ask(client, EVIL.replace(b"/?", b"/own?"))).status, 403)
        self.assertEqual((await self.ask(client, GET.replace(b" / ", b" /own "))).body, b"hi")
        response = await self.ask(client, form(b"a=1").replace(b" / ", b" /own "))
        self.assertEqual(response.status, 200)

    async def test_resources_are_guarded_too(self):
        _origin, _proxy, client = await self.walled(
            more='[[routes]]\nname = "own"\nmatch = { path = "/own" }\n'
            'resource = "tests.scenarios.test_waf:echo"\nuse = ["rules"]\n'
        )
        for body in (b"a=1", b"a=" + b"x" * 200_000):
            client.send(form(body).replace(b" / ", b" /own "))
            self.assertEqual((await client.response()).body, body)
        client.send(form(b"a=evil").replace(b" / ", b" /own "))
        self.assertEqual((await client.response()).status, 403)

    async def test_in_another_site(self):
        """As a resource of twisted.web's own server."""
        origin, proxy, _client = await self.walled()
        port = reactor.listenTCP(0, Site(proxy.graph.resource()), interface="127.0.0.1")
        self.addCleanup(maybeDeferred, port.stopListening)
        proxy.address = ("127.0.0.1", port.getHost().port)
        client = await self.client(proxy)
        body = b"a=" + b"x" * 300_000
        seen, _ = await self.exchange(client, origin, form(body))
        self.assertEqual(seen.body, body)
        client.send(form(b"a=evil"))
        self.assertEqual((await client.response()).status, 403)
        self.assertEqual(len(origin.wires), 1)
        client.reset()

    async def test_pipelined_requests_wait_their_turn(self):
        origin, _proxy, client = await self.walled()
        client.send(GET + EVIL + GET)
        await origin.request()
        origin.reply(ok(b"1"))
        self.assertEqual((await client.response()).body, b"1")
        self.assertEqual((await client.response()).status, 403)
        await origin.request()
        origin.reply(ok(b"3"))
        self.assertEqual((await client.response()).body, b"3")


class BodyTests(Firewalled):
    async def test_nothing_is_sent_before_the_verdict(self):
        origin, _proxy, client = await self.walled()
        client.send(CHUNKED + b"5\r\nhello\r\n")
        await self.turns()
        self.assertEqual(origin.wires, [])
        client.send(b"0\r\n\r\n")
        self.assertEqual((await origin.request()).body, b"hello")
        origin.reply(EMPTY_OK)
        await client.response()

    async def test_an_attack_in_pieces(self):
        origin, _proxy, client = await self.walled()
        for piece in (CHUNKED, b"4\r\na=ev\r\n", b"2\r\nil\r\n", b"0\r\n\r\n"):
            client.send(piece)
        self.assertEqual((await client.response()).status, 403)
        self.assertEqual(origin.wires, [])
        await self.exchange(client, origin)

    async def test_only_the_beginning_is_inspected(self):
        """The rest flows, and is as long as it likes."""
        origin, _proxy, client = await self.walled('body = "1KiB"')
        body = b"a=" + b"x" * 300_000 + b"evil"
        seen, response = await self.exchange(client, origin, form(body))
        self.assertEqual(seen.body, body)
        self.assertEqual(response.status, 200)

    async def test_an_attack_in_the_beginning_of_a_long_body(self):
        origin, _proxy, client = await self.walled('body = "1KiB"')
        client.send(POST + b"Content-Length: 1000000\r\n\r\na=evil&b=" + b"x" * 2000)
        response = await client.response()
        self.assertEqual(response.status, 403)
        self.assertEqual(response.get(b"connection"), b"close")
        self.assertEqual(origin.wires, [])

    async def test_the_client_is_told_to_send_its_body(self):
        """Once, whatever the origin says."""
        origin, _proxy, client = await self.walled()
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        self.assertEqual((await client.head()).status, 100)
        client.send(b"a=1")
        await origin.request()
        origin.reply(b"HTTP/1.1 100 Continue\r\n\r\n" + EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_body_limit(self):
        origin, proxy, client = await self.walled(policy='body_limit = "10B"')
        response = await self.ask(client, POST + b"Content-Length: 11\r\n\r\n")
        self.assertEqual(response.status, 413)
        client = await self.client(proxy)
        client.send(CHUNKED + b"b\r\nhello world\r\n0\r\n\r\n")
        self.assertEqual((await client.response()).status, 413)
        self.assertEqual(origin.wires, [])

    async def test_a_client_that_stops_sending(self):
        origin, proxy, client = await self.walled(listener='body_timeout = "1s"')
        client.send(POST + b"Content-Length: 10\r\n\r\nabc")
        self.assertEqual((await client.response()).status, 408)
        self.assertEqual(origin.wires, [])
        self.assertEqual(proxy.log.reasons, [b"body_timeout"])

    async def test_a_retried_body_is_whole(self):
        other = await self.origin("other")
        origin, _proxy, client = await self.walled(
            others=[other], pool="retry = { attempts = 1, budget = 1.0 }"
        )
        client.send(b"PUT" + form(b"a=1")[4:])
        await origin.request()
        origin.wire.reset()
        self.assertEqual((await other.request()).body, b"a=1")
        other.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)


class FailureTests(Firewalled):
    def stop(self, proxy):
        """Engines that neither answer nor die."""
        (pid,) = proxy.graph.firewalls.engines.pids
        os.kill(pid, signal.SIGSTOP)
        return pid

    async def test_killed_under_a_request(self):
        origin, proxy, client = await self.walled()
        pid = self.stop(proxy)
        client.send(GET)
        await self.turns()
        os.kill(pid, signal.SIGKILL)
        response = await client.response()
        self.assertEqual(response.status, 503)
        self.assertEqual(response.get(b"retry-after"), b"1")
        self.assertEqual(proxy.log.reasons, [b"waf_unavailable"])
        await self.exchange(client, origin)  # waits for the next engine

    async def test_open(self):
        origin, proxy, client = await self.walled('on_failure = "open"')
        pid = self.stop(proxy)
        client.send(form(b"a=1"))
        await self.turns()
        os.kill(pid, signal.SIGKILL)
        self.assertEqual((await origin.request()).body, b"a=1")
        origin.reply(EMPTY_OK)
        self.assertEqual((await client.response()).status, 200)

    async def test_stuck(self):
        """It is killed when the time of its request is over, and another takes its place."""
        origin, proxy, client = await self.walled('timeout = "200ms"')
        pid = self.stop(proxy)
        self.assertEqual((await self.ask(client, GET)).status, 503)
        await self.dead(proxy, pid)
        await self.alive(proxy)
        await self.exchange(client, origin)
        self.assertEqual((await self.ask(client, EVIL)).status, 403)

    async def test_queue_full(self):
        origin, proxy, first = await self.walled('queue = 1\ntimeout = "20s"')
        pid = self.stop(proxy)
        first.send(GET)
        second, third = await self.client(proxy), await self.client(proxy)
        await self.turns()
        second.send(GET)
        await self.until(lambda: proxy.graph.firewalls.engines._waiting, "one to wait")
        self.assertEqual((await self.ask(third, GET)).status, 503)
        os.kill(pid, signal.SIGCONT)
        for client in (first, second):
            await origin.request()
            origin.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, 200)

    async def test_client_gone_meanwhile(self):
        origin, proxy, client = await self.walled()
        pid = self.stop(proxy)
        client.send(GET)
        await self.until(lambda: not proxy.graph.firewalls.engines._idle, "the engine to be asked")
        client.reset()
        await proxy.log.record()
        os.kill(pid, signal.SIGCONT)
        await self.alive(proxy)
        self.assertEqual(origin.wires, [])
        self.assertEqual(proxy.log.reasons, [b"client_aborted"])

    async def test_under_traffic(self):
        """An engine that dies time and again takes nothing else with it."""
        origin, proxy, _client = await self.walled('timeout = "20s"')
        statuses = []
        for number in range(3):
            clients = [await self.client(proxy) for _ in range(4)]
            for client in clients:
                client.send(EVIL)
            if number:
                for pid in proxy.graph.firewalls.engines.pids:
                    os.kill(pid, signal.SIGKILL)
            statuses += [(await client.response()).status for client in clients]
            await self.alive(proxy)
        self.assertEqual(origin.wires, [])
        self.assertLessEqual(set(statuses), {403, 503})
        self.assertLessEqual(statuses.count(503), 2)


class LogTests(Firewalled):
    async def test_error_log(self):
        logged = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        rules = own.write(Path(self.mktemp()).absolute())
        origin = await self.origin()
        proxy = await self.proxy(origin, policy=f'waf = {{ rules = ["{rules}"] }}')
        proxy.graph.firewalls.start()
        await self.ask(await self.client(proxy), EVIL)
        lines = [event["line"] for event in logged if "line" in event]
        self.assertEqual(json.loads(lines[0])["action"], "blocked")

    async def test_redacted(self):
        _origin, _proxy, client = await self.walled(
            more='[log]\naccess = { redact = ["a"] }\n',
        )
        await self.ask(client, EVIL)
        (line,) = self.lines()
        self.assertEqual(line["target"], "/?a=***")
        self.assertEqual(line["rules"][0]["value"], "***")


class TogetherTests(Firewalled):
    """With what else a route may have."""

    async def test_after_authentication(self):
        """Nobody's body is collected who may not pass; and one that was held is inspected."""
        users = Path(self.mktemp()).absolute()
        users.write_text("alice:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n")
        origin, _proxy, client = await self.walled(
            policy=f'basic_auth = {{ users = "file:{users}" }}'
        )
        self.assertEqual((await self.ask(client, EVIL)).status, 401)
        known = b"Authorization: Basic " + base64.b64encode(b"alice:secret") + b"\r\n\r\n"
        for body, status in ((b"a=1", 200), (b"a=evil", 403)):
            client.send(form(body).replace(b"\r\n\r\n", b"\r\n" + known))
            if status == 200:
                self.assertEqual((await origin.request()).body, body)
                origin.reply(EMPTY_OK)
            self.assertEqual((await client.response()).status, status)
        self.assertEqual(self.lines()[0]["rules"][0]["id"], 101)

    async def test_before_the_cache(self):
        path = Path(self.mktemp()).absolute()
        origin, proxy, client = await self.walled(
            more=f'[caches.main]\npath = "{path}"\nmemory = "1MiB"\n',
            route='cache = { store = "main", default_ttl = "60s" }',
        )
        store, _ = proxy.graph.caches["main"]
        store.open()
        await self.until(lambda: store.writer.storing, "the cache to be ready")
        await self.exchange(client, origin, reply=ok(b"kept", b"Cache-Control: max-age=60"))
        response = await self.ask(client, GET)
        self.assertEqual(response.body, b"kept")
        self.assertEqual((await self.ask(client, EVIL)).status, 403)


LEAKY = b"HTTP/1.1 200 OK\r\nX-Leak: a secret\r\nContent-Length: 2\r\n\r\nhi"
TEXT = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


class ResponseTests(Firewalled):
    async def test_fields(self):
        origin, proxy, client = await self.walled(waf=', responses = "headers"')
        _, response = await self.exchange(client, origin, reply=ok(b"fine"))
        self.assertEqual(response.body, b"fine")
        _, response = await self.exchange(client, origin, reply=LEAKY)
        self.assertEqual(response.status, 502)
        self.assertIsNone(response.get(b"x-leak"))
        self.assertEqual((await proxy.log.record(2)).reason, b"waf_refused_response")
        (line,) = self.lines()
        self.assertEqual((line["part"], line["action"]), ("response", "blocked"))
        _, response = await self.exchange(client, origin, reply=ok(b"fine"))
        self.assertEqual(response.body, b"fine")

    async def test_off(self):
        origin, _proxy, client = await self.walled()
        _, response = await self.exchange(client, origin, reply=LEAKY)
        self.assertEqual(response.status, 200)

    async def test_detection(self):
        origin, _proxy, client = await self.walled(waf=', responses = "headers", mode = "detect"')
        _, response = await self.exchange(client, origin, reply=LEAKY)
        self.assertEqual(response.status, 200)
        self.assertEqual(self.lines()[0]["action"], "detected")

    async def test_a_body_in_pieces(self):
        origin, _proxy, client = await self.walled(waf=', responses = "bodies"')
        client.send(GET)
        await origin.request()
        origin.reply(TEXT + b"Content-Length: 18\r\n\r\na sta")
        await self.turns()
        self.assertEqual(client.total, 0)
        origin.reply(b"ck trace here")
        self.assertEqual((await client.response()).status, 502)

    async def test_honest_bodies(self):
        origin, _proxy, client = await self.walled('body = "1KiB"', ', responses = "bodies"')
        long = b"x" * 500_000
        chunked = TEXT + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
        for reply, body in (
            (ok(b"fine", b"Content-Type: text/plain"), b"fine"),
            (ok(long, b"Content-Type: text/plain"), long),
            (ok(long, b"Content-Type: image/png"), long),
            (ok(b"a stack trace", b"Content-Type: image/png"), b"a stack trace"),
            (chunked, b"hello"),
            (EMPTY_OK, b""),
        ):
            _, response = await self.exchange(client, origin, reply=reply)
            self.assertEqual(response.status, 200)
            self.assertEqual(response.body, body)
        self.assertEqual(len(origin.wires), 1)

    async def test_until_the_connection_closes(self):
        origin, _proxy, client = await self.walled(waf=', responses = "bodies"')
        client.send(GET)
        await origin.request()
        origin.reply(TEXT + b"\r\nhello")
        origin.wire.close()
        self.assertEqual((await client.response()).body, b"hello")

    async def test_a_response_that_breaks_off(self):
        """Nothing has been sent yet, so the client gets an error page."""
        origin, _proxy, client = await self.walled(waf=', responses = "bodies"')
        client.send(b"POST" + GET[3:])
        await origin.request()
        origin.reply(TEXT + b"Content-Length: 18\r\n\r\na sta")
        await self.turns()
        origin.wire.close()
        self.assertEqual((await client.response()).status, 502)

    async def test_a_response_that_is_tried_again(self):
        other = await self.origin("other")
        origin, _proxy, client = await self.walled(
            others=[other],
            waf=', responses = "headers"',
            pool='retry = { attempts = 1, on = ["502"], budget = 1.0 }',
        )
        client.send(GET)
        await origin.request()
        origin.reply(b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n")
        await other.request()
        other.reply(LEAKY)
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(len(self.lines()), 1)

    async def test_client_gone_meanwhile(self):
        origin, proxy, client = await self.walled(waf=', responses = "headers"')
        client.send(GET)
        await origin.request()
        (pid,) = proxy.graph.firewalls.engines.pids
        os.kill(pid, signal.SIGSTOP)
        origin.reply(TEXT + b"Content-Length: 18\r\n\r\na sta")
        await self.until(lambda: not proxy.graph.firewalls.engines._idle, "the engine to be asked")
        client.reset()
        await proxy.log.record()
        os.kill(pid, signal.SIGCONT)
        await origin.wire.closing()

    async def test_no_verdict(self):
        for failure, status in (("closed", 503), ("open", 200)):
            origin, proxy, client = await self.walled(
                f'on_failure = "{failure}"', ', responses = "headers"'
            )
            client.send(GET)
            await origin.request()
            (pid,) = proxy.graph.firewalls.engines.pids
            os.kill(pid, signal.SIGSTOP)
            origin.reply(ok(b"hi"))
            await self.until(
                lambda p=proxy: not p.graph.firewalls.engines._idle, "the engine to be asked"
            )
            os.kill(pid, signal.SIGKILL)
            self.assertEqual((await client.response()).status, status)
