"""Posts orders over kept connections, for order_post: `python -m bench.load` with its task as JSON on standard input.

A client as small as asyncio allows, in a process of its own, so that what it takes is not booked on the server. It
speaks just enough HTTP/1.1 for the servers measured here: answers with a Content-Length, one request at a time on
each connection.
"""

import asyncio
import sys
import time

import msgspec


class Task(msgspec.Struct):
    """`requests` are whole HTTP requests but for what stands for the order's own name, `NAME`."""

    port: int
    connections: int
    seconds: float
    requests: list[bytes]


class Outcome(msgspec.Struct):
    """Latencies in nanoseconds of the answers with status 201; of the others the first few, as they came."""

    took_s: float
    latencies_ns: list[int]
    bad: int = 0
    examples: list[bytes] = []


NAME = b"{name}"
_NAMES = f"{time.time_ns():x}"


class Connection(asyncio.Protocol):
    def __init__(self, run: "_Run", number: int) -> None:
        self._run, self._number = run, number
        self._transport: asyncio.Transport
        self._answer = b""
        self._sent_ns = 0
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found or not _is_whole(head, body):
            return
        self._run.note(time.perf_counter_ns() - self._sent_ns, self._answer)
        self._send()

    def connection_lost(self, problem: Exception | None) -> None:
        if not self._over:
            self._run.note(0, b"connection lost")
            self._run.over()

    def _send(self) -> None:
        if time.perf_counter() >= self._run.deadline:
            self._over = True
            self._run.over()
            self._transport.close()
            return
        self._answer = b""
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(self._run.request(self._number))


class _Run:
    def __init__(self, task: Task) -> None:
        self._task = task
        self._made = 0
        self._left = task.connections
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outcome = Outcome(0.0, [])
        self.deadline = time.perf_counter() + task.seconds

    def request(self, number: int) -> bytes:
        self._made += 1
        request = self._task.requests[(number + self._made) % len(self._task.requests)]
        return request.replace(NAME, b"%s-%08d" % (_NAMES.encode(), self._made))

    def note(self, took_ns: int, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 201"):
            self.outcome.latencies_ns.append(took_ns)
            return
        self.outcome.bad += 1
        if len(self.outcome.examples) < 3:
            self.outcome.examples.append(answer)

    def over(self) -> None:
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)


async def _load(task: Task) -> Outcome:
    began = time.perf_counter()
    run = _Run(task)
    loop = asyncio.get_running_loop()
    for number in range(task.connections):
        await loop.create_connection(lambda number=number: Connection(run, number), "127.0.0.1", task.port)  # type: ignore[misc]
    await asyncio.wait_for(run.done, task.seconds + 30)
    run.outcome.took_s = time.perf_counter() - began
    return run.outcome


def _is_whole(head: bytes, body: bytes) -> bool:
    """By its length, or in chunks until an empty one."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n")


if __name__ == "__main__":
    outcome = asyncio.run(_load(msgspec.json.decode(sys.stdin.buffer.read(), type=Task)))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))
