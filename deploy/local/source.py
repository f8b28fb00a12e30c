#!/usr/bin/env python3
"""A source of documents whose faults can be switched on.

  source.py --port P --certificate FILE --key FILE --faults DIR

Serves scrolls over https on loopback, and sends whoever asks for /away to a metadata service. A
fault is on while there is a file of its name in DIR:

  slow-source      answers take seven seconds, in two halves
  failing-source   every answer is 503
"""

import argparse
import asyncio
import contextlib
import pathlib
import ssl

DECOYS = "Misleading information is everywhere.\n" * 8
SCROLL = (
    f"{DECOYS}{{*AGENT_CODENAME: SHADOWMIND*}}\n{DECOYS}{{*the second lies beneath the tree*}}\n"
)
# How long each half of a slow answer takes: the first shorter than `egress.first_byte_timeout`,
# both together shorter than `egress.total_timeout`.
HALF = 3.5
# How long a scroll below /far/ takes to be fetched from its shelf.
FAR = 1.0


def answer(path: str) -> tuple[str, bytes, float]:
    """The status, the body and the pause before it. /scroll/N and /far/N are N times a scroll."""
    folder, _, size = path.lstrip("/").partition("/")
    if folder == "away":
        return "302 Found\r\nLocation: https://169.254.169.254/latest/", b"", 0
    if folder not in ("scroll", "far") or not size.isdecimal():
        return "404 Not Found", b"no such scroll\n", 0
    return "200 OK", (SCROLL * min(int(size), 1000)).encode(), FAR if folder == "far" else 0


class Source:
    def __init__(self, faults: pathlib.Path):
        self.faults = faults

    def has(self, fault: str) -> bool:
        return (self.faults / fault).exists()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self.reply(head.decode("latin-1").split(" ")[1], writer)
        writer.close()

    async def reply(self, path: str, writer: asyncio.StreamWriter) -> None:
        status, body, pause = answer(path)
        if self.has("failing-source"):
            status, body = "503 Service Unavailable", b"the library is closed\n"
        is_slow = self.has("slow-source")
        await asyncio.sleep(HALF if is_slow else pause)
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        middle = len(body) // 2
        writer.write(head.encode() + body[:middle])
        if is_slow:
            await writer.drain()
            await asyncio.sleep(HALF)
        writer.write(body[middle:])
        await writer.drain()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--faults", type=pathlib.Path, required=True)
    said = parser.parse_args()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(said.certificate, said.key)
    source = Source(said.faults)
    server = await asyncio.start_server(
        source.serve, "127.0.0.1", said.port, ssl=tls, backlog=512, limit=16384
    )
    await server.serve_forever()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main())
