"""Between the mirror and its server: a proxy that loses answers, or lets a request arrive very late."""

import http.client
import http.server
import threading
import time
from collections import deque
from typing import Literal

Fault = Literal["answer lost", "request cut", "arrives late", "database trouble"]

TROUBLE = (
    b'{"error_code": "BAD_REQUEST", "message": "QueuePool limit of size 5 overflow 10 reached, connection timed out, '
    b'timeout 30.00 (Background on this error at: https://sqlalche.me/e/21/3o7r)"}'
)
"""What MLflow's server answers, with status 400, if its database is too slow."""


class Proxy(http.server.ThreadingHTTPServer):
    """Forwards requests to a server, and fails at the paths in `faults`, each once and in that order."""

    daemon_threads = True

    def __init__(self, *, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = port
        self.faults: deque[tuple[str, Fault]] = deque()
        self.late: list[threading.Thread] = []
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def forward(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=30)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def fault_of(self, path: str) -> Fault | None:
        self.requests.append(path)
        if self.faults and path.partition("?")[0].endswith(self.faults[0][0]):
            return self.faults.popleft()[1]
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # with connections that are kept, as MLflow's own server does
    server: Proxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        request = (self.command, self.path, body, headers)
        match self.server.fault_of(self.path):
            case "answer lost":
                self.server.forward(*request)
                self.close_connection = True
            case "request cut":
                self.close_connection = True
            case "arrives late":
                self.close_connection = True
                thread = threading.Thread(target=self.arrive, args=request, daemon=True)
                self.server.late.append(thread)
                thread.start()
            case "database trouble":
                self.answer(400, TROUBLE)
            case None:
                self.answer(*self.server.forward(*request))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815  # as http.server has it

    def arrive(self, *request: object) -> None:
        time.sleep(1.5)  # the mirror looks for its runs after half a second, and creates what it does not find
        self.server.forward(*request)  # pyright: ignore[reportArgumentType]

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""
