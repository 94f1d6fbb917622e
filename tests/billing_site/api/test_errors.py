"""Every failure is told as problem details (RFC 9457), and no trace leaves the house."""

import logging
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client, override_settings

from billing_site.api.errors import problem_of
from billing_site.api.throttling import Buckets, rate_limit
from tests.billing_site.api.caller import Caller, fields_of


@pytest.fixture
def broken_listing(monkeypatch):
    def breaks_with(exception: Exception) -> None:
        def get_queryset(self: Any) -> None:
            raise exception

        monkeypatch.setattr("invoicing.api.customers.CustomersView.get_queryset", get_queryset)

    return breaks_with


@pytest.mark.django_db
def test_an_unforeseen_failure_is_a_500_with_the_number_of_its_log_entry(broken_listing, caplog):
    broken_listing(ZeroDivisionError("secret detail"))

    with caplog.at_level(logging.ERROR):
        response = Caller().get("/api/v1/customers")

    assert response.status_code == 500
    assert fields_of(response) == {}
    reference = response.json()["instance"].removeprefix("urn:uuid:")
    assert reference in response.json()["detail"]
    assert b"secret" not in response.content
    assert reference in caplog.text
    assert "ZeroDivisionError: secret detail" in caplog.text


@pytest.mark.django_db
def test_a_database_that_does_not_answer_is_a_503_with_retry_after(broken_listing):
    broken_listing(OperationalError("server closed the connection; password=secret"))

    response = Caller().get("/api/v1/customers")

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert b"secret" not in response.content


def test_without_a_database_every_request_is_a_503(monkeypatch):
    def unreachable(*_: object) -> None:
        raise OperationalError("connection refused; password=secret")

    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.ensure_connection", unreachable)
    nobody = Client(raise_request_exception=False)

    for headers in ({"Authorization": "Bearer x"}, {"Authorization": "Bearer x", "Idempotency-Key": "a"}):
        for path in ("/api/v1/customers", "/api/v1/events"):
            answer = nobody.post(path, b"{}", "application/json", headers=headers)
            assert answer.status_code == 503
            assert answer.headers["Retry-After"]
            assert b"secret" not in answer.content
    nobody.cookies["sessionid"] = "a-session-of-before"
    assert nobody.get("/billing/invoices/INV-2026-00001/pdf").status_code == 503


@pytest.mark.django_db
def test_a_rule_of_the_database_is_a_409_in_the_words_of_the_rule():
    told = {}
    for name, statement in {
        "trigger": "DO $$ BEGIN RAISE EXCEPTION 'issued invoice 5 cannot be changed'"
        " USING ERRCODE = 'integrity_constraint_violation'; END $$",
        "raise": "DO $$ BEGIN RAISE EXCEPTION 'this is carved in stone'; END $$",
        "constraint": "INSERT INTO invoicing_customer (key, name, email, currency, timezone, address, tax_id,"
        " settlement_channel, net_terms_days, payment_method) VALUES ('k', 'n', '', 'EU', 'UTC', '', '', 'stripe', 1, '')",
    }.items():
        with pytest.raises(Exception) as caught, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        told[name] = problem_of(caught.value)

    assert {problem.status for problem in told.values()} == {409}
    assert told["trigger"].detail == "issued invoice 5 cannot be changed"
    assert told["raise"].detail == "this is carved in stone"
    assert told["constraint"].detail == "this contradicts a rule of the database: customer currency is a code"
    assert problem_of(IntegrityError("something")).status == 409


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/nothing", "/api/v1/customers/", "/billing/nothing"])
def test_an_address_that_is_not_there_is_a_problem_too(path):
    response = Client(raise_request_exception=False).get(path)

    assert response.status_code == 404
    assert fields_of(response) == {}


@pytest.mark.django_db
@override_settings(DEBUG=True)
def test_debug_pages_do_not_leave_the_machine_face(broken_listing):
    broken_listing(ZeroDivisionError("secret detail"))

    assert b"secret" not in Caller().get("/api/v1/customers").content
    assert fields_of(Client().get("/api/v1/nothing")) == {}


@pytest.mark.django_db
def test_a_strange_host_is_a_problem_on_the_machine_face():
    response = Client().get("/api/v1/customers", headers={"Host": "elsewhere.example"})

    assert response.status_code == 400
    assert fields_of(response) == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/api/v1/customers/a%00b", "/api/v1/invoices?status=%00", "/billing/invoices/%00/pdf"]
)
def test_addresses_with_nul_are_refused(path):
    assert Caller().get(path).status_code == 400


@pytest.mark.django_db
def test_a_body_that_is_too_large_is_refused_by_its_declared_length():
    caller = Caller()

    response = caller.send("POST", "/api/v1/customers", b"x" * 20_000_000)

    assert response.status_code == 413
    assert fields_of(response) == {}


@pytest.mark.django_db
@override_settings(REQUEST_BYTES_MAX=1000, DATA_UPLOAD_MAX_MEMORY_SIZE=1000)
def test_the_largest_body_is_read_and_one_byte_more_is_not():
    caller = Caller()

    assert caller.send("POST", "/api/v1/customers", b"{}".ljust(1000)).status_code == 422
    assert caller.send("POST", "/api/v1/customers", b"{}".ljust(1001)).status_code == 413
    assert caller.send("POST", "/api/v1/customers", b"{}".ljust(1001), Idempotency_Key="a").status_code == 413


@pytest.mark.django_db
def test_a_body_without_a_declared_length_is_refused_instead_of_read_as_empty():
    caller = Caller()

    answer = caller.client.get("/api/v1/customers", headers={"Transfer-Encoding": "chunked"})

    assert answer.status_code == 411
    assert fields_of(answer) == {}


@pytest.mark.django_db
def test_only_json_is_understood_and_whatever_is_accepted_json_is_sent():
    caller = Caller()

    assert caller.send("POST", "/api/v1/customers", b"key=a", "application/x-www-form-urlencoded").status_code == 415
    assert caller.send("POST", "/api/v1/customers", b"<a/>", "text/xml").status_code == 415
    answer = caller.get("/api/v1/customers", Accept="application/problem+json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


@pytest.mark.django_db
def test_too_many_requests_are_429_until_the_bucket_has_filled_again(settings):
    settings.API_RATE_LIMIT = "2/h"
    caller = Caller()

    answers = [caller.get("/api/v1/customers") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 1800
    assert Caller().get("/api/v1/customers").status_code == 200


def test_a_bucket_fills_evenly_and_never_above_its_size():
    buckets = Buckets()

    def wait(moment: float) -> float:
        return buckets.wait_seconds(key=1, requests=2, seconds=60, moment=moment)

    assert [wait(0), wait(0), wait(0)] == [0, 0, 30]
    assert wait(29.9) > 0
    assert [wait(30), wait(1000), wait(1000), wait(1000)] == [0, 0, 0, 30]


def test_a_rate_limit_is_written_as_requests_per_interval():
    assert rate_limit(text="") is None
    assert rate_limit(text="1000/s") == (1000, 1)
    assert rate_limit(text="60/min") == (60, 60)
    for text in ("0/s", "5", "5/day", "-1/s"):
        with pytest.raises(ValueError, match="API_RATE_LIMIT"):
            rate_limit(text=text)


@pytest.mark.django_db
def test_a_refused_request_is_told_to_the_caller_and_leaves_the_log_alone(caplog):
    caller = Caller()

    assert caller.get("/api/v1/customers/nobody").status_code == 404
    assert caller.client.get("/api/v1/customers").status_code == 401

    assert caplog.records == []
