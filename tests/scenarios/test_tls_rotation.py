"""Certificates that change under load: nobody notices but by the certificate."""

import os

from tests.scenarios.harness import GET, ok
from tests.scenarios.tls import ROOT, SERVER, SecureScenario, trusting

ROTATIONS = 50
NAMES = ("a.example", "localhost")


class RotationTests(SecureScenario):
    async def load(self, proxy, new):
        """Requests on one connection after the other until told to stop; how many there were."""
        done = 0
        context = trusting()
        while not self.enough:
            client = await self.secure(proxy, context=context)
            self.seen.add(client.certificate.serial_number)
            for _ in range(1 if new else 20):
                client.send(GET)
                response = await client.response()
                self.assertEqual((response.status, response.body), (200, b"served"))
                done += 1
                if self.enough:
                    break
            client.close()
            await client.ended()
        return done

    def serve(self, origin):
        """Answer every request there is."""

        def prepare(wire):
            async def answer():
                while True:
                    await wire.until(lambda: wire.received or wire.over, "a request")
                    if not wire.received:
                        return
                    await wire.request()
                    wire.send(ok(b"served"))

            self.later(answer())

        origin.prepare = prepare

    async def rotate(self, turn, paths):
        self.enough = False
        self.seen = set()
        origin = await self.origin()
        self.serve(origin)
        cert, key = paths
        entry = f'cert = "{cert}", key = "file:{key}"'
        proxy = await self.secure_proxy(origin, entries=(entry,), tls='reload = "10ms"')
        proxy.graph.start()
        kept = await self.secure(proxy)
        loads = [self.later(self.load(proxy, new)) for new in (False, False, True, True)]
        serials = []
        for _ in range(ROTATIONS):
            issued = ROOT.issue(*NAMES, subject="rotated")
            serials.append(issued.certificate.serial_number)
            turn(issued)
            (tls,) = proxy.graph.tls.values()
            await self.until(
                lambda i=issued, t=tls: t.contexts.store.certificates[0].leaf == i.certificate,
                "the new certificate to be served",
            )
            fresh = await self.secure(proxy)
            self.assertEqual(fresh.certificate, issued.certificate)
            fresh.close()
            await fresh.ended()
            kept.send(GET)  # running connections go on with what they have
            self.assertEqual((await kept.response()).status, 200)
        self.enough = True
        counts = [await each for each in loads]
        self.assertTrue(all(counts), counts)
        self.assertEqual(set(proxy.log.reasons), {b"ok"})
        self.assertEqual(len(proxy.log.records), sum(counts) + ROTATIONS)
        self.assertGreater(len(self.seen & set(serials)), 5)

    async def test_files_written_anew(self):
        source = SERVER.write(self.folder)
        cert, key = source.cert, self.folder / "server.key"

        def turn(issued):
            for path, content in ((cert, issued.pem), (key, issued.key_pem)):
                new = path.with_suffix(".new")
                new.write_bytes(content)
                new.chmod(0o600)
                os.replace(new, path)

        await self.rotate(turn, (cert, key))

    async def test_symbolic_link_that_is_turned(self):
        """As Kubernetes does: the files lead through a link to a folder."""
        count = 0
        link = self.folder / "current"
        SERVER.write(self.folder / "v0")
        link.symlink_to("v0")
        for name in ("server.pem", "server.key"):
            (self.folder / name).symlink_to(f"current/{name}")

        def turn(issued):
            nonlocal count
            count += 1
            issued.write(self.folder / f"v{count}")
            new = self.folder / "new"
            new.symlink_to(f"v{count}")
            os.replace(new, link)

        await self.rotate(turn, (self.folder / "server.pem", self.folder / "server.key"))

    async def test_broken_files_change_nothing(self):
        source = SERVER.write(self.folder)
        entry = f'cert = "{source.cert}", key = "file:{source.key.name}"'
        origin = await self.origin()
        proxy = await self.secure_proxy(origin, entries=(entry,), tls='reload = "10ms"')
        proxy.graph.start()
        (tls,) = proxy.graph.tls.values()
        for content in (b"", b"garbage", SERVER.pem[:300], ROOT.issue("a.example").pem):
            before = tls.contexts.store._watched[0].stamp
            new = source.cert.with_suffix(".new")
            new.write_bytes(content)
            os.replace(new, source.cert)
            await self.until(
                lambda b=before: tls.contexts.store._watched[0].stamp != b, "the file to be read"
            )
            client = await self.secure(proxy)
            self.assertEqual(client.certificate, SERVER.certificate)
            await self.exchange(client, origin)

    async def test_sessions_stay_good(self):
        source = SERVER.write(self.folder)
        entry = f'cert = "{source.cert}", key = "file:{source.key.name}"'
        origin = await self.origin()
        for version in ("1.2", "1.3"):
            SERVER.write(self.folder)
            proxy = await self.secure_proxy(origin, entries=(entry,), tls='reload = "10ms"')
            proxy.graph.start()
            context = trusting(version=version)
            first = await self.secure(proxy, context=context)
            await self.exchange(first, origin)
            issued = ROOT.issue(*NAMES)
            issued.write(self.folder)
            (tls,) = proxy.graph.tls.values()
            await self.until(
                lambda i=issued, t=tls: t.contexts.store.certificates[0].leaf == i.certificate,
                "the new certificate to be served",
            )
            again = await self.secure(proxy, context=context, session=first.tls.get_session())
            await self.exchange(again, origin)
            self.assertTrue(again.resumed, version)
