"""One effect for one `Idempotency-Key`: the answer is stored in the transaction that has the effect.

Only an answer of success is stored: a refused request has no effect, so it may be corrected and sent
again under its key. A crash leaves neither effect nor answer. While the first request is at work its
advisory lock makes the second one a 409 instead of a second effect.
"""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse

from billing_site.api.errors import Problem, problem_of
from billing_site.api.models import ApiKey, IdempotentRequest
from billing_site.kernel.errors import FieldError

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY_LENGTH_MAX = 255


def answer_once(*, request: HttpRequest, api_key: ApiKey, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """Return what `answer` makes of a request with an Idempotency-Key, or what it made of it before.

    The same key with another body, address or content type is a 422 on the field `Idempotency-Key`.
    """
    key = request.headers[HEADER]
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
        return _refused("invalid", f"must have 1 to {KEY_LENGTH_MAX} printable ASCII characters")
    try:
        digest = _digest_of(request)
        with transaction.atomic():
            if not _claimed(api_key=api_key, key=key):
                return _in_flight()
            earlier = IdempotentRequest.objects.filter(api_key=api_key, key=key).first()
            if earlier is not None:
                return _again(earlier, digest)
            response = answer()
            if response.status_code >= 300:
                transaction.set_rollback(True)
                return response
            # Deferred constraints speak now, while a refusal still takes the stored answer with it.
            connection.check_constraints()
            IdempotentRequest.objects.create(
                api_key=api_key,
                key=key,
                method_and_path=f"{request.method} {request.path}"[:300],
                body_digest=digest,
                status=response.status_code,
                response=response.content,
                content_type=response.headers["Content-Type"],
            )
            return response
    except Exception as exception:  # whatever fails here, the effect is rolled back and the caller gets a problem
        return problem_of(exception).http_response()


def forget_answers(*, before: datetime) -> int:
    """Delete the stored answers of requests before a moment; return how many."""
    return IdempotentRequest.objects.filter(created_at__lt=before).delete()[0]


def _digest_of(request: HttpRequest) -> str:
    parts = (str(request.method), request.get_full_path(), request.headers.get("Content-Type", ""))
    return sha256("\0".join(parts).encode() + b"\0" + request.body).hexdigest()


def _claimed(*, api_key: ApiKey, key: str) -> bool:
    """Take the lock of this key until the end of the transaction, or say that somebody else has it."""
    name = sha256(f"{api_key.pk}\0{key}".encode()).digest()[:8]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [int.from_bytes(name, signed=True)])
        return bool(cursor.fetchone()[0])


def _again(earlier: IdempotentRequest, digest: str) -> HttpResponse:
    if earlier.body_digest != digest:
        return _refused("reused", f"was used for another request: {earlier.method_and_path}")
    assert earlier.response is not None, "an answer is stored with its effect"
    return HttpResponse(
        bytes(earlier.response),
        status=earlier.status,
        content_type=earlier.content_type,
        headers={REPLAYED: "true"},
    )


def _in_flight() -> HttpResponse:
    problem = Problem(
        409,
        "in_flight",
        "the first request with this Idempotency-Key is still at work; ask again for its answer",
        headers={"Retry-After": "1"},
    )
    return problem.http_response()


def _refused(code: str, message: str) -> HttpResponse:
    return Problem(422, "invalid", f"{HEADER} {message}", (FieldError(HEADER, code, message),)).http_response()
