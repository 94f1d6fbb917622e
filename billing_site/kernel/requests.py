"""On whose request something is done: one name for all that an HTTP request, a job or a command did, in histories, logs and answers."""

import logging
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponseBase

HEADER = "X-Request-ID"
# What a caller or a proxy may call a request; anything else is named by us.
GIVEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
NAME_MAX = 64
_CURRENT: ContextVar[str] = ContextVar("request_id", default="")


def request_id() -> str:
    """Return the name of the request, job or command that is running; "" where none is, as in a shell."""
    return _CURRENT.get()


def new_name(*, of: str) -> str:
    """Return a name that nothing had before, beginning with what it is of: req, job, or a command."""
    return f"{of[: NAME_MAX - 17]}-{secrets.token_hex(8)}"


def begin(name: str) -> None:
    """Let all that this thread does from now on be told under a name."""
    assert len(name) <= NAME_MAX, f"too long a name of a request: {name}"
    _CURRENT.set(name)


@contextmanager
def requested(name: str) -> Iterator[None]:
    """Let what is done within be told under a name."""
    token = _CURRENT.set(name)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class RequestIdMiddleware:
    """Name each request, by what the caller calls it or anew, and say the name in the answer. Stands first."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        given = request.headers.get(HEADER, "")
        name = given if GIVEN.fullmatch(given) else new_name(of="req")
        with requested(name):
            response = self.get_response(request)
        response[HEADER] = name
        return response


class WithRequestId(logging.Filter):
    """Add the name of the request to each line of the log; "-" where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line pass."""
        record.request_id = request_id() or "-"
        return True
