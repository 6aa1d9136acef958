"""A vendor for measurements: answers at a fixed latency, keeps the time, and costs next to nothing itself.

Run as a program it serves until its stdin ends, and prints its port first. It knows recordInfo, createTask and
file-stream-upload, and three addresses of its own: /stub/begin, /stub/report, /stub/asked. It plays no faults and
proves nothing about money: that is the sandbox' part.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable

from motionq_ops.bench.stub_figures import Looks

MODEL = "kling-2.6/motion-control"
# As long as the vendor's own addresses of uploaded files.
IMAGE_URL = f"https://tempfile.redpandaai.co/kieai/183531/motionq/{'a' * 16}-1790000000000.png"
VIDEO_URL = f"https://tempfile.redpandaai.co/kieai/183531/motionq/{'b' * 16}-1790000000000.mp4"
_IMAGE = 1_000_000  # bytes: what is shorter is an image
_LINE = 5.0  # seconds between two lines of a slow answer
_BY_TASK = b"GET /api/v1/jobs/recordInfo?taskId="


def record_body(task_id: str) -> bytes:
    """recordInfo's answer for a task that is being generated; shape and size as recorded (about 1 KB)."""
    media = {"input_urls": [IMAGE_URL], "video_urls": [VIDEO_URL]}
    asked = media | {"prompt": "a dance " * 12, "character_orientation": "video", "mode": "720p"}
    data = {
        "taskId": task_id,
        "model": MODEL,
        "state": "generating",
        "param": json.dumps({"input": json.dumps(asked), "model": MODEL}),
        "resultJson": "",
        "failCode": "",
        "failMsg": "",
        "costTime": 0,
        "completeTime": None,
        "createTime": 1_790_000_000_000,
        "creditsConsumed": None,
    }
    return json.dumps({"code": 200, "msg": "success", "data": data}).encode()


_BEFORE, _AFTER = record_body("\0").split(b"\\u0000")


class Stub:
    """What all connections share. `latency`: seconds until an answer; `upload`: seconds that an upload takes."""

    def __init__(self, latency: float, upload: float) -> None:
        self.latency = latency
        self.upload = upload
        self.looks = Looks()
        self.created = 0
        self.uploads = 0  # that are done
        self.open_uploads = 0

    def report(self, interval: float) -> dict[str, object]:
        """What was counted since `begin`."""
        now = asyncio.get_running_loop().time()
        counted = self.looks.report(interval, now)
        return counted | {"created": self.created, "uploads": self.uploads, "open_uploads": self.open_uploads}


class Connection(asyncio.Protocol):
    """One kept-alive connection. Requests of one connection are answered one after another, as clients send them."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._held = bytearray()
        self._body_left = 0
        self._after_body: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the way back."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """A piece of a request."""
        if self._body_left:
            data = self._skip(data)
        if not data:
            return
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._held[:end])
            rest = bytes(self._held[end + 4 :])
            self._held.clear()
            self._request(head)
            self._held += self._skip(rest) if self._body_left else rest

    def _skip(self, data: bytes) -> bytes:
        """Bodies are counted, not kept."""
        taken = min(self._body_left, len(data))
        self._body_left -= taken
        if not self._body_left and self._after_body:
            self._after_body()
            self._after_body = None
        return data[taken:]

    def _request(self, head: bytes) -> None:
        if head.startswith(_BY_TASK):
            task_id = head[len(_BY_TASK) : head.index(b" ", len(_BY_TASK))].decode()
            self._stub.looks.arrived(task_id, self._loop.time())
            self._loop.call_later(self._stub.latency, self._answer_look, task_id)
            return
        line = head.split(b"\r\n", 1)[0].decode()
        length = next((int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")), 0)
        self._body_left = length
        self._after_body = lambda: self._other(line, length)
        if not length:
            self._skip(b"")

    def _answer_look(self, task_id: str) -> None:
        self._stub.looks.answered(task_id, self._loop.time())
        self._send(_BEFORE + task_id.encode() + _AFTER)

    def _other(self, line: str, length: int) -> None:
        path = line.split(" ")[1]
        if path.startswith("/stub/begin"):
            self._stub.looks.begin(self._loop.time())
            self._send(b"{}")
        elif path.startswith("/stub/report"):
            self._send(json.dumps(self._stub.report(float(path.partition("?")[2]))).encode())
        elif path.startswith("/stub/asked"):
            now = {"asked": self._stub.looks.asked(), "open_uploads": self._stub.open_uploads}
            self._send(json.dumps(now).encode())
        elif path.endswith("/createTask"):
            self._stub.created += 1
            self._loop.call_later(
                self._stub.latency, self._send, _envelope({"taskId": f"made{self._stub.created:028x}"})
            )
        elif path.endswith("/file-stream-upload"):
            self._stub.open_uploads += 1
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            slow = self._stub.upload if length > _IMAGE else 0.0  # all jobs wait for their one image
            self._take_time(self._loop.time() + slow)
        else:
            self._send(_envelope(1000.0))

    def _take_time(self, until: float) -> None:
        """A head that comes slowly, line by line, so that no client takes the vendor for dead."""
        left = until - self._loop.time()
        if left > 0 and not self._transport.is_closing():
            self._transport.write(b"X-Wait: on\r\n")
            self._loop.call_later(min(_LINE, left), self._take_time, until)
            return
        self._stub.open_uploads -= 1
        self._stub.uploads += 1
        body = _envelope({"success": True, "downloadUrl": VIDEO_URL})
        self._transport.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _send(self, body: bytes) -> None:
        if not self._transport.is_closing():
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)


def _envelope(data: object) -> bytes:
    return json.dumps({"code": 200, "msg": "success", "data": data}).encode()


async def _serve(stub: Stub) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, required=True)
    parser.add_argument("--upload", type=float, default=0.0)
    given = parser.parse_args()
    asyncio.run(_serve(Stub(given.latency, given.upload)))


if __name__ == "__main__":
    main()
