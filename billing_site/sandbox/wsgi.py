"""The sandbox as a WSGI application with its deliverer, for whoever runs it under another server: one process, please."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
django.setup()

from django.db import close_old_connections  # noqa: E402

from billing_site.sandbox.delivery import Deliverer  # noqa: E402
from billing_site.sandbox.http import Answer, Request, answer  # noqa: E402

Deliverer().start()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request; an answer that is to be lost becomes a 504 here."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    close_old_connections()
    given = answer(
        Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", ""), headers, body)
    )
    close_old_connections()
    if given.lost:
        given = Answer(504, {"error": {"message": "The answer was lost on demand.", "type": "api_error"}})
    start_response(f"{given.status} Sandbox", [*given.headers.items(), ("Content-Type", given.content_type)])
    return [given.encoded()]
