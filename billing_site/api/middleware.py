"""What stands before and behind every view of the machine face, whoever wrote it."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.exceptions import AuthenticationFailed

from billing_site.api.authentication import api_key_of
from billing_site.api.errors import MEDIA_TYPE, Problem, problem_of, unforeseen
from billing_site.api.idempotency import HEADER, answer_once

FACE = ("/api/", "/billing/")
DRAINED_BYTES_MAX = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024

PLAIN_PROBLEMS = {
    400: ("malformed", "the request cannot be read"),
    403: ("permission_denied", "this is not allowed"),
    404: ("not_found", "there is nothing at this address"),
    405: ("method_not_allowed", "this address does not know that method"),
    413: ("too_large", "the body is larger than what one request may carry"),
}


class MachineFaceMiddleware:
    """Refuse what no view should see; turn Django's own error pages into problem details."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        if not request.path.startswith(FACE):
            return self.get_response(request)
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return Problem(400, "malformed", "an address cannot contain the NUL character").http_response()
        if "Transfer-Encoding" in request.headers and not request.META.get("CONTENT_LENGTH"):
            # WSGI would show the view an empty body.
            return Problem(411, "length_required", "send the body with a Content-Length").http_response()
        if _declared_length(request) > settings.REQUEST_BYTES_MAX:
            _drain(request)
            detail = f"a body may have at most {settings.REQUEST_BYTES_MAX} bytes"
            return Problem(413, "too_large", detail).http_response()
        response = self.get_response(request)
        if response.status_code < 400 or response.headers.get("Content-Type", "").startswith(MEDIA_TYPE):
            return response
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            return response  # never Django's own: a view shows it to a person (invoicing.api.pdf)
        return _problem_instead_of(response).http_response()


class IdempotencyMiddleware:
    """Honour `Idempotency-Key` on every POST under /api/v1/; stands last, next to the view.

    A view class with `has_own_idempotency = True` is left alone: events carry keys of their own.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request."""
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Answer the request here if it carries a key; None lets Django call the view as usual."""
        if request.method != "POST" or HEADER not in request.headers or not request.path.startswith("/api/v1/"):
            return None
        if getattr(getattr(view, "cls", None), "has_own_idempotency", False):
            return None
        try:
            api_key = api_key_of(request=request)
        except AuthenticationFailed:
            return None  # the view answers 401
        except (DatabaseError, InterfaceError) as failure:
            return problem_of(failure).http_response()
        if api_key is None:
            return None
        if len(request.body) < _declared_length(request):
            # Its client was killed while it sent: half a request must neither act nor spend the key.
            return Problem(400, "malformed", "the request ended before its body was complete").http_response()
        return answer_once(request=request, api_key=api_key, answer=lambda: view(request, *args, **kwargs).render())


def _declared_length(request: HttpRequest) -> int:
    text = request.META.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isascii() and text.isdigit() else 0


def _drain(request: HttpRequest) -> None:
    """Read and forget the body, so that the client gets to read the answer instead of a closed connection."""
    left = DRAINED_BYTES_MAX
    while left > 0 and (chunk := request.read(CHUNK_BYTES)):
        left -= len(chunk)


def _problem_instead_of(response: HttpResponseBase) -> Problem:
    if response.status_code >= 500:
        return unforeseen(None)  # Django has logged the trace itself
    code, detail = PLAIN_PROBLEMS.get(response.status_code, ("refused", "the request was refused"))
    allowed = response.headers.get("Allow")
    return Problem(response.status_code, code, detail, headers={"Allow": allowed} if allowed else {})
