"""One request in, one answer out: key, faults, idempotency, one transaction, Stripe's errors; no socket in here."""

import json
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from billing_site.kernel.clock import now
from billing_site.kernel.digest import digest_of
from billing_site.sandbox import control, faults, hosted
from billing_site.sandbox.limiter import limiter
from billing_site.sandbox.models import SandboxRequest
from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import Refusal, invalid
from billing_site.sandbox.stripe.events import API_VERSION, record_news
from billing_site.sandbox.stripe.forms import Params, decode_form
from billing_site.sandbox.stripe.presentation import expanded, presented
from billing_site.sandbox.stripe.routes import find_route

logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 1024 * 1024
KEY_LENGTH_MAX = 255


@dataclass(frozen=True)
class Request:
    """What came over the wire; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes back; `lost` means that the effect stays but the client never hears of it."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    lost: bool = False
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the body as bytes."""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body, indent=2).encode()


def answer(request: Request) -> Answer:
    """Answer one request, whatever it is; no exception leaves this function."""
    request_id = f"req_{secrets.token_hex(7)}"
    try:
        given = _dispatch(request, request_id)
    except Refusal as refusal:
        given = _refused(refusal)
    except DatabaseError as error:
        logger.warning("The sandbox lost %s %s to the database: %s", request.method, request.path, error)
        _forget_connection()
        given = _refused(Refusal(500, type="api_error", message="The sandbox has lost its database; try again."))
    except Exception:
        logger.exception("The sandbox failed on %s %s", request.method, request.path)
        _forget_connection()
        given = _refused(Refusal(500, type="api_error", message="An unknown error occurred in the sandbox."))
    about = {"Request-Id": request_id, "Stripe-Version": request.headers.get("stripe-version", API_VERSION)}
    return Answer(given.status, given.body, {**about, **given.headers}, given.lost, given.content_type)


def _dispatch(request: Request, request_id: str) -> Answer:
    if hosted.is_page(request.path):
        _keep_time(faults.ordered())
        return _page(request)
    _check_key(request.headers.get("authorization", ""))
    form = request.query if request.method == "GET" else _form(request)
    if settings.SANDBOX_REQUEST_LOG:
        _log(request, form)
    tree = decode_form(form)
    ours = control.ROUTES.get((request.method, request.path))
    if ours:
        return Answer(200, ours(Params(tree)))
    ordered = faults.ordered()
    _keep_time(ordered)
    if not limiter.takes(per_second=faults.level_of(faults.CALLS_PER_SECOND, ordered)):
        return _too_many("Request rate limit exceeded: more calls in a second than were ordered.")
    for kind in (faults.HTTP_500, *((faults.HTTP_500_ON_WRITES,) if request.method == "POST" else ())):
        if faults.strikes(kind, ordered):
            raise _broken(kind)
    if faults.strikes(faults.RATE_LIMIT, ordered):
        # By the hundred it is of one endpoint, as Stripe says it: others go on.
        about = {"Stripe-Rate-Limited-Reason": "endpoint-rate"} if ordered[faults.RATE_LIMIT].percent else {}
        return _too_many("A fault that was ordered: rate_limit.", **about)
    has_key = request.method == "POST" and "idempotency-key" in request.headers
    is_broken = has_key and faults.strikes(faults.KEPT_500, ordered)
    given = _carry_out(request, tree, request_id, is_broken=is_broken)
    had_effect = request.method == "POST" and given.status < 400
    if had_effect and faults.strikes(faults.TIMEOUT_AFTER_EFFECT, ordered):
        return Answer(given.status, given.body, given.headers, lost=True)
    return given


def _keep_time(ordered: faults.Ordered) -> None:
    store.live_behind(seconds=faults.level_of(faults.CLOCK_BEHIND_SECONDS, ordered))


def _log(request: Request, form: str) -> None:
    """Append what was asked to the file that was ordered: one write a line, so that processes and threads may share it."""
    told = {"method": request.method, "path": request.path, "form": form}
    told["sdk"] = request.headers.get("x-stripe-client-user-agent", "")
    file = os.open(settings.SANDBOX_REQUEST_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(told).encode() + b"\n")
    finally:
        os.close(file)


def _broken(kind: str) -> Refusal:
    return Refusal(500, type="api_error", message=f"A fault that was ordered: {kind}.")


def _too_many(message: str, **about: str) -> Answer:
    refusal = Refusal(429, type="invalid_request_error", code="rate_limit", message=message)
    return Answer(429, refusal.body, {"Retry-After": "1", **about})


def _carry_out(request: Request, tree: dict[str, Any], request_id: str, *, is_broken: bool) -> Answer:
    found = find_route(request.method, request.path)
    if found is None:
        message = f"Unrecognized request URL ({request.method}: {request.path[:200]}). The sandbox knows only a part."
        raise invalid(message, status=404)
    route, ids = found
    expand = tree.pop("expand", [])
    if not isinstance(expand, list) or not all(isinstance(path, str) for path in expand):
        raise invalid("Invalid array", param="expand")
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    if key is not None and not 0 < len(key) <= KEY_LENGTH_MAX:
        raise invalid(f"Idempotency keys have 1 to {KEY_LENGTH_MAX} characters.", param="Idempotency-Key")
    call = Call(Params(tree), request.path, request_id, key, _base_url(request))

    def run() -> tuple[int, Any]:
        if is_broken:
            return 500, _broken(faults.KEPT_500).body
        try:
            body = expanded(presented(route(call, *ids), base_url=call.base_url), expand)
            status = 200
        except Refusal as refusal:
            if not refusal.keeps_effects:
                raise
            status, body = refusal.status, refusal.body
        record_news(call)
        return status, body

    if key is None:
        with transaction.atomic():
            return Answer(*run())
    return _once(request, key, digest_of({"params": tree, "expand": expand}), request_id, run)


def _once(request: Request, key: str, digest: str, request_id: str, run: Callable[[], tuple[int, Any]]) -> Answer:
    """Carry out a request under its idempotency key, or repeat the answer that it got before.

    The effect, its events and the record of the key are one transaction. What was refused without an
    effect is not recorded and may be tried again with the same key.
    """
    with transaction.atomic():
        if not _lock_key(key):
            message = "There is currently another in-progress request using this Idempotency-Key."
            raise Refusal(409, type="idempotency_error", code="idempotency_key_in_use", message=message)
        before = SandboxRequest.objects.filter(idempotency_key=key).first()
        if before is None:
            status, body = run()
            SandboxRequest.objects.create(
                idempotency_key=key,
                method=request.method,
                path=request.path,
                digest=digest,
                request_id=request_id,
                status=status,
                response=body,
                created_at=now(),
            )
            return Answer(status, body, {"Idempotency-Key": key})
    if (before.method, before.path, before.digest) != (request.method, request.path, digest):
        message = (
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request."
        )
        raise Refusal(400, type="idempotency_error", message=message)
    replayed = {"Idempotency-Key": key, "Idempotent-Replayed": "true", "Original-Request": before.request_id}
    return Answer(before.status, before.response, replayed)


def _lock_key(key: str) -> bool:
    number = int.from_bytes(sha256(key.encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        return bool(cursor.fetchone()[0])


def _forget_connection() -> None:
    """Begin the next request on a fresh connection; one that a test's transaction holds is left alone."""
    if not connection.in_atomic_block:
        connection.close()


def _check_key(authorization: str) -> None:
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret:
        message = (
            "You did not provide an API key. You need to provide it in the Authorization header, using Bearer auth."
        )
        raise Refusal(401, type="invalid_request_error", message=message)
    if not secrets.compare_digest(secret.strip().encode(), settings.SANDBOX_SECRET_KEY.encode()):
        shown = f"{secret[:8]}{'*' * 8}{secret[-4:]}" if len(secret) > 16 else "*" * len(secret)
        raise Refusal(401, type="invalid_request_error", message=f"Invalid API Key provided: {shown}")


def _form(request: Request) -> str:
    if len(request.body) > BODY_BYTES_MAX:
        raise invalid("The request body is too large.", status=413)
    if len(request.body) < int(request.headers.get("content-length") or 0):
        # Its client was killed while it sent: half a request is none, and may not be what its idempotency key stands for.
        raise invalid("The request ended before its body was complete.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if request.body and kind not in ("", "application/x-www-form-urlencoded"):
        raise invalid(f"Invalid content type: {kind[:100]}; requests are form-encoded.")
    try:
        return request.body.decode("ascii")
    except UnicodeDecodeError:
        raise invalid("The request's parameters are not form-encoded.") from None


def _refused(refusal: Refusal) -> Answer:
    return Answer(refusal.status, refusal.body)


def _page(request: Request) -> Answer:
    """Answer a browser that opens a page which Stripe would host; no key is asked for."""
    chosen = decode_form(_form(request)).get("card", "") if request.method == "POST" else ""
    shown = hosted.page(method=request.method, path=request.path, card=str(chosen), base_url=_base_url(request))
    return Answer(shown.status, shown.body, shown.headers, content_type="text/html; charset=utf-8")


def _base_url(request: Request) -> str:
    return f"http://{request.headers.get('host') or settings.SANDBOX_BIND}"
