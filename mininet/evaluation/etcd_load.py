"""A closed loop of puts on etcd, over its HTTP gateway (`/v3/kv/put`), with records like those of `multipaxos bench`.

Theory. Every outstanding command has a connection of its own, kept alive, so commands never wait for one another in the
client. All connections use one endpoint, the leader's while it lives; when a connection breaks, they turn to the next
endpoint. The outcome of a command that was on its way is then unknown: it is recorded as never answered, and the next
command begins.

Rules. The body of a request is made before its time begins: etcd's cost of reading it is measured, our cost of making
it is not. Nothing is computed here; SIGINT and SIGTERM end the load. Runnable as `python -m evaluation.etcd_load`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import signal
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import uvloop

from multipaxos.load.operation_log import OPERATIONS, OUTCOMES, OperationLog

ROW = struct.Struct("<QQQQIBBH")
RETRY_S = 0.02
SILENCE_S = 1.0
LINE_END = b"\r\n"
END = 2 * LINE_END


def request_of(key: bytes, value: bytes, host: str) -> bytes:
    """One put, as an HTTP request."""
    body = json.dumps({"key": base64.b64encode(key).decode(), "value": base64.b64encode(value).decode()}).encode()
    head = f"POST /v3/kv/put HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + END + body


def answer_of(data: bytes) -> tuple[int, int, int] | None:
    """(status, revision, length) of the answer that `data` begins with; None if the answer is not complete yet."""
    head_end = data.find(END)
    if head_end < 0:
        return None
    first, *lines = data[:head_end].decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)}
    found = body_of(data, head_end + len(END), fields)
    if found is None:
        return None
    status, (body, end) = int(first.split()[1]), found
    return status, int(json.loads(body)["header"]["revision"]) if status == 200 else 0, end


def body_of(data: bytes, at: int, fields: Mapping[str, str]) -> tuple[bytes, int] | None:
    """The body that begins at `at`, and its end. etcd sends refusals in chunks, with fields after the last chunk."""
    if fields.get("transfer-encoding") != "chunked":
        end = at + int(fields.get("content-length", 0))
        return (data[at:end], end) if len(data) >= end else None
    body = b""
    while (line_end := data.find(LINE_END, at)) >= 0:
        size = int(data[at:line_end].partition(b";")[0], 16)
        if size == 0:
            # the last chunk's own line end may be the first half of the empty line that ends all
            end = data.find(END, line_end)
            return (body, end + len(END)) if end >= 0 else None
        at = line_end + len(LINE_END) + size + len(LINE_END)
        body += data[line_end + len(LINE_END) : at - len(LINE_END)]
    return None


class Load:
    """All connections, and the file of records."""

    def __init__(self, endpoints: list[tuple[str, int]], file: OperationLog, options: dict[str, Any]) -> None:
        self.endpoints = endpoints
        self.file = file
        self.options = options
        self.random = random.Random(options["seed"])
        self.number = 0
        self.stop = asyncio.Event()
        self.at = 0  # the place of the endpoint in use

    def next_request(self) -> tuple[int, bytes]:
        """The number and the bytes of the next put."""
        self.number += 1
        key = b"%0*d" % (self.options["key_size"], self.random.randrange(self.options["keys"]))
        return self.number, request_of(key, b"x" * self.options["value_size"], self.endpoints[self.at][0])

    def row(self, number: int, sent_ns: int, answered_ns: int, revision: int, outcome: str) -> None:
        """Writes the row of one operation."""
        operation, code, client = OPERATIONS["put"], OUTCOMES[outcome], self.options["client"]
        self.file.write(ROW.pack(sent_ns, sent_ns, answered_ns, revision, number, operation, code, client))

    async def work(self) -> None:
        """Sends the commands of one connection, one after the other; connects again when it breaks."""
        while not self.stop.is_set():
            at = self.at
            try:
                async with asyncio.timeout(SILENCE_S):
                    reader, writer = await asyncio.open_connection(*self.endpoints[at], limit=1 << 20)
            except (OSError, TimeoutError):
                await self.elsewhere(at)
                continue
            try:
                await self.talk(reader, writer)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                await self.elsewhere(at)
            finally:
                writer.close()

    async def elsewhere(self, at: int) -> None:
        """Turns to the next endpoint, unless another connection has done so already."""
        if self.at == at:
            self.at = (at + 1) % len(self.endpoints)
        await asyncio.sleep(RETRY_S)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends commands until the connection breaks or the load ends."""
        while not self.stop.is_set():
            number, request = self.next_request()
            sent_ns = time.monotonic_ns()
            answered = False
            try:
                writer.write(request)
                data = b""
                async with asyncio.timeout(SILENCE_S):
                    while (answer := answer_of(data)) is None:
                        more = await reader.read(1 << 16)
                        if not more:
                            raise ConnectionResetError("etcd closed the connection")
                        data += more
                answered = True
                outcome = "ok" if answer[0] == 200 else "refused"
                self.row(number, sent_ns, time.monotonic_ns(), answer[1], outcome)
            finally:
                if not answered:
                    self.row(number, sent_ns, 0, 0, "unanswered")

    async def run(self) -> None:
        """Runs until a signal comes."""
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signal_number, self.stop.set)
        workers = [loop.create_task(self.work()) for _ in range(self.options["outstanding"])]
        await self.stop.wait()
        _, late = await asyncio.wait(workers, timeout=2 * SILENCE_S)
        for worker in late:
            worker.cancel()
        for result in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


@click.command()
@click.option("--endpoints", required=True, help="HOST:PORT,HOST:PORT: the first one is used as long as it lives.")
@click.option("--records", required=True, type=click.Path(path_type=Path))
@click.option("--outstanding", type=click.IntRange(1), default=1)
@click.option("--keys", type=click.IntRange(1), default=1000)
@click.option("--key-size", type=click.IntRange(1), default=8)
@click.option("--value-size", type=click.IntRange(0), default=64)
@click.option("--client", type=click.IntRange(0, 65535), default=0)
@click.option("--seed", type=int, default=1)
def main(endpoints: str, records: Path, **options: Any) -> None:
    """Put on etcd until a signal comes."""
    places = [(host, int(port)) for host, _, port in (each.rpartition(":") for each in endpoints.split(","))]

    async def run(file: OperationLog) -> int:
        load = Load(places, file, options)
        await load.run()
        return load.number

    with OperationLog(records) as file:
        commands = uvloop.run(run(file))
    click.echo(json.dumps({"commands": commands}))


if __name__ == "__main__":
    main()
