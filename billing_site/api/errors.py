"""Every failure as RFC 9457 problem details; a stack trace goes to the log, never to the caller."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Any
from uuid import uuid4

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from billing_site.kernel.errors import BillingError, FieldError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
RAISED_BY_TRIGGER = ("23000", "P0001")
SEND_A_KEY = "send `Authorization: Bearer bbk_...`; `manage.py create_api_key` makes a key"
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}


@dataclass(frozen=True)
class Problem:
    """What went wrong, as it is told to the caller."""

    status: int
    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    instance: str = ""

    def document(self) -> dict[str, Any]:
        """Return the problem details object."""
        document: dict[str, Any] = {
            "type": f"urn:billing:problem:{self.code.replace('_', '-')}",
            "title": TITLES.get(self.status) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [{"field": error.field, "code": error.code, "message": error.message} for error in self.errors],
        }
        return document | ({"instance": self.instance} if self.instance else {})

    def http_response(self) -> HttpResponse:
        """Return the answer where no view of REST framework is involved."""
        return JsonResponse(self.document(), status=self.status, content_type=MEDIA_TYPE, headers=dict(self.headers))


def problem_response(exception: Exception, context: Mapping[str, Any]) -> Response:
    """Answer an exception of a view; REST framework calls this (EXCEPTION_HANDLER)."""
    problem = problem_of(exception)
    return Response(problem.document(), problem.status, headers=dict(problem.headers), content_type=MEDIA_TYPE)


def problem_of(exception: BaseException) -> Problem:
    """Return what the caller is told about an exception; an unforeseen one is logged under a reference number."""
    if isinstance(exception, BillingError):
        return Problem(exception.status, exception.code, exception.message, exception.field_errors)
    if isinstance(exception, exceptions.APIException):
        return _of_rest_framework(exception)
    if isinstance(exception, DatabaseError | InterfaceError):
        return _of_database(exception)
    if isinstance(exception, Http404):
        return Problem(404, "not_found", "there is nothing at this address")
    if isinstance(exception, PermissionDenied):
        return Problem(403, "permission_denied", "this is not allowed")
    if isinstance(exception, RequestDataTooBig):
        return Problem(413, "too_large", "the body is larger than what one request may carry")
    if isinstance(exception, SuspiciousOperation | UnreadablePostError):
        return Problem(400, "malformed", "the request cannot be read")
    return unforeseen(exception)


def unforeseen(exception: BaseException | None) -> Problem:
    """Return a 500 that names nothing but the number under which the failure is logged."""
    reference = uuid4()
    logger.error("unforeseen failure %s", reference, exc_info=exception)
    return Problem(
        500,
        "internal",
        f"something went wrong on our side; it is logged under the reference {reference}",
        instance=f"urn:uuid:{reference}",
    )


def _of_rest_framework(exception: exceptions.APIException) -> Problem:
    headers: dict[str, str] = {}
    if isinstance(exception, exceptions.ValidationError):
        errors = tuple(_flat(exception.detail, ""))
        detail = "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in errors)
        return Problem(422, "invalid", detail, errors)
    if challenge := getattr(exception, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(exception, exceptions.Throttled):
        wait: float | None = getattr(exception, "wait", None)
        headers["Retry-After"] = str(max(1, ceil(wait or 1)))
    codes = exception.get_codes()
    detail = SEND_A_KEY if isinstance(exception, exceptions.NotAuthenticated) else str(exception.detail)
    return Problem(exception.status_code, codes if isinstance(codes, str) else "invalid", detail, headers=headers)


def _flat(detail: Any, path: str) -> Iterator[FieldError]:
    """Yield each mistake of nested validation errors with its path: `prices[0].tiers[1].up_to`."""
    if isinstance(detail, Mapping):
        for name, member in detail.items():
            if name == "non_field_errors":
                yield from _flat(member, path)
            elif isinstance(name, int):
                yield from _flat(member, f"{path}[{name}]")
            else:
                yield from _flat(member, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list | tuple):
        for index, member in enumerate(detail):
            nested = not isinstance(member, exceptions.ErrorDetail)
            yield from _flat(member, f"{path}[{index}]" if nested else path)
    else:
        yield FieldError(path, getattr(detail, "code", None) or "invalid", str(detail))


def _of_database(exception: Exception) -> Problem:
    diagnosis = getattr(exception.__cause__, "diag", None)
    state = getattr(diagnosis, "sqlstate", None) or ""
    if isinstance(exception, IntegrityError) or state in RAISED_BY_TRIGGER:
        logger.warning("refused by the database: %s", exception)
        told = (getattr(diagnosis, "message_primary", None) or "") if state in RAISED_BY_TRIGGER else ""
        rule = (getattr(diagnosis, "constraint_name", None) or "").replace("_", " ")
        return Problem(409, "conflict", told or f"this contradicts a rule of the database: {rule or 'integrity'}")
    if isinstance(exception, DataError):
        logger.warning("not storable: %s", exception)
        return Problem(422, "invalid", "a value is outside of what can be stored")
    if isinstance(exception, OperationalError | InterfaceError):
        logger.error("the database is not available", exc_info=exception)
        return Problem(
            503,
            "unavailable",
            "the database cannot answer right now; try again",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
    return unforeseen(exception)
