#!/usr/bin/env python3
"""What clients ask of the local stack, and what is wrong with them while a fault is on.

  traffic.py --stack FILE

Some twenty requests a second, in turn to each instance: documents fetched and handed over, of
three tenants, in all forms; now and then one that is not there or is no request. A fault is on
while there is a file of its name in the stack's folder of faults:

  denied-urls   URLs that the policy forbids: metadata services, private networks, other schemes
  bad-keys      credentials that open nothing
  overload      more at once than there are places
  abandoned     clients that leave before they are answered
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import pathlib
import random
from collections.abc import Callable

# Requests a second of the usual mixture.
RATE = 20
# How long a client waits for its answer.
PATIENCE = 20
DOCUMENT = "decoy\n{*DOOR: east*}\nanother\n{*the key is under the stone*}\n"
DENIED = [
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://10.0.0.1/",
    "http://scrolls.example/scroll/1",
    "https://user:word@scrolls.example/scroll/1",
    "https://scrolls.example:22/",
    "https://elsewhere.example/",
    # Allowed by its name, and leads to a private address.
    "https://inside.example/",
]


class Client:
    def __init__(self, stack: dict):
        self.stack = stack
        self.instances = itertools.cycle(stack["decoders"])
        self.faults = pathlib.Path(stack["faults"])
        port = stack["source_port"]
        self.hosts = [f"https://{name}:{port}" for name in stack["hosts"]]

    def has(self, fault: str) -> bool:
        return (self.faults / fault).exists()

    async def send(
        self, key: str, body: str, kind: str, query: str = "", stays: bool = True
    ) -> None:
        """One request over a connection of its own."""
        host, port = next(self.instances).removeprefix("http://").split(":")
        head = (
            f"POST /decode{query} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body.encode())}\r\n\r\n"
        )
        # An instance may be stopped; that is what the stack is for.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    writer.write((head + body).encode())
                    await writer.drain()
                    if stays:
                        while await reader.read(65536):
                            pass
                finally:
                    writer.close()

    async def ask(self, key: str, stays: bool = True, **request: object) -> None:
        await self.send(self.stack["keys"][key], json.dumps(request), "application/json", "", stays)

    def scroll(self, size: int = 1) -> str:
        return f"{random.choice(self.hosts)}/scroll/{size}"

    def far(self) -> str:
        return f"{random.choice(self.hosts)}/far/1"

    async def hand_over(self, tenant: str) -> None:
        query = random.choice(["", "?output=masked", "?max_secrets=1", "?output=summary"])
        await self.send(self.stack["keys"][tenant], DOCUMENT, "text/plain", query)

    async def usual(self) -> None:
        """One request of the mixture."""
        tenant = random.choice(["league", "league", "guild", "atlas"])
        kind = random.random()
        if kind < 0.50:
            await self.ask(tenant, source=self.scroll(random.choice([1, 1, 1, 20, 200])))
        elif kind < 0.60:
            await self.ask("viewer", source=self.scroll(), output="masked")
        elif kind < 0.75:
            await self.ask(tenant, content=DOCUMENT)
        elif kind < 0.96:
            await self.hand_over(tenant)
        elif kind < 0.99:
            await self.ask(tenant, source=f"{random.choice(self.hosts)}/missing")
        else:
            await self.send(self.stack["keys"][tenant], '{"source": ', "application/json")

    async def denied(self) -> None:
        # Or where a source sends whoever asks.
        away = f"{random.choice(self.hosts)}/away"
        await self.ask("guild", source=random.choice([*DENIED, away]))

    async def unknown(self) -> None:
        right = self.stack["keys"]["league"]
        wrong = random.choice(["bpd_nobody_" + "A" * 43, right[:-4] + "AAAA", "letmein"])
        await self.send(wrong, DOCUMENT, "text/plain")

    async def crowd(self) -> None:
        await self.ask("league", source=self.far())

    async def leaver(self) -> None:
        await self.ask("guild", stays=False, source=self.far())


async def every(rate: float, is_on: Callable[[], bool], ask: Callable[[], object]) -> None:
    """So many a second while it is on, whether or not those before are answered."""
    under_way: set[asyncio.Task] = set()
    while True:
        await asyncio.sleep(random.expovariate(rate))
        if is_on():
            task = asyncio.create_task(ask())
            under_way.add(task)
            task.add_done_callback(under_way.discard)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stack", type=pathlib.Path, required=True)
    client = Client(json.loads(parser.parse_args().stack.read_text()))
    await asyncio.gather(
        every(RATE, lambda: True, client.usual),
        every(10, lambda: client.has("denied-urls"), client.denied),
        every(10, lambda: client.has("bad-keys"), client.unknown),
        every(240, lambda: client.has("overload"), client.crowd),
        every(20, lambda: client.has("abandoned"), client.leaver),
    )


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
