"""Which programs the product consists of, and what each is told."""

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from billing_site.database.settings import APPLICATION
from billing_site.serving.child import Program

WEB = "web"
WORKER = "worker"
ROLLUP = "rollup"
SANDBOX = "sandbox"
WEB_THREADS = 2
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


@dataclass(frozen=True)
class Address:
    """A host and a port to listen on."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port`; raises ValueError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is no address such as 127.0.0.1:8000")
        return cls(host=host.strip("[]"), port=int(port))

    @classmethod
    def free(cls) -> "Address":
        """Return an address on loopback that nobody listens on now."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return cls(host="127.0.0.1", port=probe.getsockname()[1])

    def is_taken(self) -> bool:
        """Tell whether listening there would fail, by trying it."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
                probe.listen(1)
            except OSError:
                return True
        return False

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.host in ANY_ADDRESS else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def programs(*, web: Address, web_workers: int, sandbox: Address | None, public_url: str) -> list[Program]:
    """Return web, worker, rollup and (where it plays Stripe) the sandbox; it stands last: the worker may be talking to it."""
    # By path and not by `-m`, so that the folder from which we are started does not matter.
    manage = [sys.executable, str(Path(settings.BASE_DIR) / "manage.py")]
    environment = {"PUBLIC_URL": public_url, "PYTHONUNBUFFERED": "1", "DATABASE_ROLE": APPLICATION}
    if sandbox is not None:
        environment["SANDBOX_BIND"] = str(sandbox)
    found = [
        Program(name=WEB, command=_granian(web=web, workers=web_workers), environment=environment),
        Program(name=WORKER, command=[*manage, "work"], environment=environment),
        Program(name=ROLLUP, command=[*manage, "roll_up", "--watch"], environment=environment),
    ]
    if sandbox is not None:
        command = [*manage, "sandbox", "--bind", str(sandbox)]
        found.append(Program(name=SANDBOX, command=command, environment=environment))
    return found


def public_url_for(*, web: Address) -> str:
    """Return the address that links carry: what the environment says, otherwise where the web listens."""
    return os.environ.get("PUBLIC_URL") or web.url


def _granian(*, web: Address, workers: int) -> list[str]:
    # Measured best on 2 cores: 2 processes x 2 threads.
    return [
        sys.executable,
        "-m",
        "granian",
        "--interface=wsgi",
        f"--host={web.host}",
        f"--port={web.port}",
        f"--workers={workers}",
        f"--blocking-threads={WEB_THREADS}",
        "--respawn-failed-workers",
        "--workers-kill-timeout=10",
        "--no-ws",
        "--log-level=warning",
        f"--working-dir={settings.BASE_DIR}",
        "billing_site.wsgi:application",
    ]
