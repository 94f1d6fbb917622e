"""All processes together keep below Stripe's limits, lose hardly anything of them, and keep quiet when Stripe asks for it."""

import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction

from billing_site.kernel.clock import now
from billing_site.sandbox.limiter import limiter
from invoicing.payments import gateway, pace
from invoicing.payments.models import PushIntent
from invoicing.payments.push import push_invoice
from invoicing.payments.rail import CallBucket
from invoicing.payments.remote import GatewayBusy
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, remote_invoices

# For figures: PACE_INVOICES=200 pytest -s
INVOICES = int(os.environ.get("PACE_INVOICES", "30"))
WORKERS = 4
LIMIT = 25


@pytest.fixture
def limits(settings):
    def set_limits(*, all_together, endpoint):
        settings.STRIPE_CALLS_PER_SECOND = all_together
        settings.STRIPE_CALLS_PER_SECOND_AND_ENDPOINT = endpoint

    return set_limits


def most_in_a_second(moments):
    """The most calls in any second, wherever it begins."""
    ordered = sorted(moments)
    return max(sum(begin <= moment < begin + 1 for moment in ordered[at:]) for at, begin in enumerate(ordered))


def turns_of(threads, *, seconds, endpoint="GET /v1/invoices/:id", urgent=False):
    """Let threads take turns for a while; returns when each was given, by PostgreSQL's clock that they share."""

    def take(number):
        given = []
        end = time.monotonic() + seconds
        try:
            with pace.urgently(urgent):
                while time.monotonic() < end:
                    pace.wait_for_turn(endpoint=endpoint)
                    given.append(time.monotonic())
        finally:
            connection.close()
        return given

    with ThreadPoolExecutor(threads) as pool:
        return [moment for given in pool.map(take, range(threads)) for moment in given]


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("get", "/v1/invoices/in_1Abc", "GET /v1/invoices/:id"),
        ("post", "/v1/invoices/in_1Abc/add_lines", "POST /v1/invoices/:id/add_lines"),
        ("post", "/v1/payment_methods/pm_card_visa/attach", "POST /v1/payment_methods/:id/attach"),
        ("post", "/v1/tax/calculations", "POST /v1/tax/calculations"),
        ("get", "/v1/balance_transactions/txn_9", "GET /v1/balance_transactions/:id"),
        ("get", "/v1/customers/cus_1/sources/card_1", "GET /v1/customers/:id/sources/:id"),
        ("get", "/v1/sources/src_1", "GET /v1/sources/:id"),
    ],
)
def test_calls_for_different_objects_are_of_one_endpoint(method, path, endpoint):
    assert pace.endpoint_of(method=method, path=path) == endpoint


@pytest.mark.requirement("S3-031")
def test_threads_with_connections_of_their_own_share_one_limit(transactional_db, limits):
    limits(all_together=0, endpoint=50)

    given = turns_of(6, seconds=2)

    assert most_in_a_second(given) <= 50
    assert len(given) >= 80


def test_one_endpoint_that_is_used_up_leaves_the_others_their_turns_up_to_the_limit_of_all(transactional_db, limits):
    limits(all_together=40, endpoint=10)

    with ThreadPoolExecutor(5) as pool:
        running = [
            pool.submit(turns_of, 1, seconds=2, endpoint=f"GET /v1/{name}") for name in ("a", "b", "c", "d", "e")
        ]
        by_endpoint = [one.result() for one in running]

    assert all(most_in_a_second(given) <= 10 for given in by_endpoint)
    together = [moment for given in by_endpoint for moment in given]
    assert most_in_a_second(together) <= 40
    assert len(together) >= 64


@pytest.mark.requirement("S3-058")
def test_what_is_urgent_has_its_turn_before_all_others_that_wait(transactional_db, limits):
    limits(all_together=20, endpoint=0)

    with ThreadPoolExecutor(2) as pool:
        others = pool.submit(turns_of, 5, seconds=2)
        urgent = pool.submit(turns_of, 1, seconds=2, urgent=True)
        ordinary, first = len(others.result()), len(urgent.result())

    assert first > 3 * ordinary


def test_without_a_limit_nobody_waits(transactional_db, limits):
    limits(all_together=0, endpoint=0)

    began = time.monotonic()
    for _ in range(100):
        pace.wait_for_turn(endpoint="GET /v1/invoices/:id")

    assert time.monotonic() - began < 2
    assert CallBucket.objects.count() == 2


def test_a_turn_taken_while_a_transaction_is_open_holds_nobody_up(transactional_db, limits):
    """dj-stripe fetches while it stores."""
    limits(all_together=1000, endpoint=1000)

    with transaction.atomic():
        pace.wait_for_turn(endpoint="GET /v1/invoices/:id")
        others = turns_of(1, seconds=0.2)

    assert len(others) > 5


@pytest.mark.requirement("S3-032")
def test_a_429_keeps_everybody_quiet_for_as_long_as_stripe_asks(sandbox, limits):
    invoice = an_issued_invoice()
    sandbox.fault("rate_limit")

    with pytest.raises(GatewayBusy) as busy:
        gateway.retrieve_invoice("in_any")
    began = time.monotonic()
    push_invoice(intent_id=invoice.push.pk, at=now())

    assert busy.value.retry_after_seconds == 1
    assert time.monotonic() - began > 0.9
    assert PushIntent.objects.get().status == "pushed"
    assert sandbox.state()["calls"]["refused"] == 0


def test_a_429_of_one_endpoint_leaves_the_others_alone(transactional_db):
    pace.wait_for_turn(endpoint="GET /v1/one")
    pace.keep_quiet(endpoint="GET /v1/one", headers={"retry-after": "3600", pace.REASON_HEADER: "endpoint-rate"})

    pace.wait_for_turn(endpoint="GET /v1/other")

    with pytest.raises(GatewayBusy) as busy:
        pace.wait_for_turn(endpoint="GET /v1/one")
    # However long Stripe asks for, it is asked again after a minute.
    assert 50 < busy.value.retry_after_seconds <= 60


def test_a_shorter_quiet_does_not_end_a_longer_one(transactional_db):
    pace.wait_for_turn(endpoint="GET /v1/one")
    for seconds in ("60", "1", "soon"):
        pace.keep_quiet(endpoint="GET /v1/one", headers={"retry-after": seconds})

    assert CallBucket.objects.get(name=pace.ALL).closed_until > now() + timedelta(seconds=50)


@pytest.mark.slow
@pytest.mark.requirement("S3-032")
def test_several_workers_keep_at_least_95_percent_of_the_limit_and_never_exceed_it(
    sandbox, limits, monkeypatch, capsys
):
    """The limiter at the sandbox is strict: whatever second it looks at, the twenty-sixth call in it gets a 429."""
    limits(all_together=LIMIT, endpoint=LIMIT)
    invoices = [an_issued_invoice(a_card_customer(f"cust_{number}")) for number in range(INVOICES)]
    intents = [invoice.push.pk for invoice in invoices]
    sandbox.post("/_sandbox/levels", {"kind": "calls_per_second", "level": LIMIT})
    asked, takes = [], limiter.takes
    monkeypatch.setattr(limiter, "takes", lambda **said: asked.append(time.monotonic()) or takes(**said))

    connections.close_all()
    children = [worker(intents[number::WORKERS]) for number in range(WORKERS)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0

    # From the second call on, as the first ones make the buckets, to when the first worker had nothing left to do.
    steady = [moment for moment in asked if asked[0] + 0.5 <= moment <= asked[-1] - 2]
    per_second = (len(steady) - 1) / (steady[-1] - steady[0])
    with capsys.disabled():
        print(
            f"\n{INVOICES} pushes by {WORKERS} workers, {len(asked)} calls in {asked[-1] - asked[0]:.1f} s:"
            f" {per_second:.2f}/s = {per_second / LIMIT:.1%} of {LIMIT}/s,"
            f" at most {most_in_a_second(asked)} in any second, {limiter.refused} refused"
        )
    if "PACE_INVOICES" in os.environ:
        # A busy machine holds calls up on their way and lets them arrive together: the figures are of one that has time.
        assert limiter.refused == 0
        assert most_in_a_second(asked) <= LIMIT
        assert per_second >= 0.95 * LIMIT
    assert most_in_a_second(asked) <= LIMIT + WORKERS
    for _ in range(50):
        # What was refused a turn comes again.
        for intent_id in PushIntent.objects.filter(status="pending").values_list("pk", flat=True):
            push_invoice(intent_id=intent_id, at=now())
    assert {intent.status for intent in PushIntent.objects.all()} == {"pushed"}
    assert all(len(remote_invoices(invoice)) == 1 for invoice in invoices)


def worker(intents):
    """Push these in a process of its own."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        # A worker has not all that pytest has loaded: no search for garbage in it holds a call up between its turn and Stripe.
        gc.freeze()
        gateway._client_for.cache_clear()
        for intent_id in intents:
            push_invoice(intent_id=intent_id, at=now())
        status = 0
    finally:
        os._exit(status)
