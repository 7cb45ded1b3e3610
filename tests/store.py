"""A real S3-compatible store, in a separate process on this machine."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

BUCKET = "bucket"
"""Name of the store's bucket."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Server:
    """A running store."""

    port: int
    log: Path
    """File with a line for each request."""

    def uri(self, prefix: str = "studies") -> str:
        return f"s3://{BUCKET}/{prefix}?endpoint_override=http://127.0.0.1:{self.port}&scheme=http"

    @property
    def files(self) -> fs.S3FileSystem:
        """File system of all objects, which does not use the code under test."""
        return fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self.port}", scheme="http", allow_bucket_creation=True
        )

    def names(self, prefix: str = "studies") -> list[str]:
        """Return the objects below a prefix."""
        place = f"{BUCKET}/{prefix}"
        found = self.files.get_file_info(
            fs.FileSelector(place, recursive=True, allow_not_found=True)
        )
        return sorted(o.path[len(place) + 1 :] for o in found if o.type == fs.FileType.File)

    def content(self, name: str, prefix: str = "studies") -> bytes:
        with self.files.open_input_stream(f"{BUCKET}/{prefix}/{name}") as stream:
            return bytes(stream.read())


class Line:
    """A port that forwards to a server, until the connection is cut."""

    def __init__(self, port: int, own: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", own))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._target = port
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Refuse every connection from now on, and end the open ones."""
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [here, there]
                for source, target in ((here, there), (there, here)):
                    thread = threading.Thread(target=self._pump, args=(source, target))
                    self._threads.append(thread)
                    thread.start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(2**16):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def s3_server(log: Path) -> Iterator[Server]:
    """Run a store with an empty bucket; this process and its children may use it."""
    before = dict(os.environ)
    os.environ.update(CREDENTIALS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=output,
        )
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.05)
        server = Server(port, log)
        server.files.create_dir(BUCKET)
        yield server
    finally:
        process.kill()
        process.wait()
        os.environ.clear()
        os.environ.update(before)
