"""What surrounds each single call to Stripe, whoever makes it: whether it may go out, its turn, and what its answer says of Stripe's health."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from invoicing.payments import breaker, calls, pace
from invoicing.payments.hurry import is_hurried

# From this status on the fault is Stripe's own.
SERVER_FAULT = 500
# With these Stripe does not take our key: nobody gets through with it.
FAULTS_OF_KEY = (401, 403)

Answer = tuple[Any, int, Mapping[str, str]]


def send(*, method: str, url: str, call: Callable[[], Answer]) -> Answer:
    """Make one call in its turn and return its answer: body, status, headers; raises RailClosed, GatewayBusy, and what the call does.

    A call that raises had no answer; it is counted, unless somebody could not wait for one.
    """
    endpoint = pace.endpoint_of(method=method, path=urlsplit(url).path)
    pace.wait_for_turn(endpoint=endpoint)
    # Only now: whoever stops the calls stops those that have waited for their turn, too.
    streaks = breaker.refuse_while_closed()
    is_write = method.upper() != "GET"
    calls.note_call()
    try:
        body, status, headers = call()
    except Exception:
        if not is_hurried():
            breaker.note_failure(cause=f"no answer to {endpoint}", is_write=is_write)
        raise
    calls.note_answer(headers=headers)
    if status == pace.TOO_MANY_REQUESTS:
        pace.keep_quiet(endpoint=endpoint, headers=headers)
    elif status >= SERVER_FAULT or status in FAULTS_OF_KEY:
        breaker.note_failure(cause=f"HTTP {status} to {endpoint}", is_write=is_write)
    else:
        breaker.note_answer(streaks=streaks, is_write=is_write)
    return body, status, headers
