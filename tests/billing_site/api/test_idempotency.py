"""One effect for one Idempotency-Key, however often and at whatever moment it comes."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import connection, connections

from billing_site.api.idempotency import forget_answers
from billing_site.api.models import IdempotentRequest
from billing_site.kernel.clock import now
from invoicing.customers.models import Customer
from tests.billing_site.api.caller import Caller, fields_of

ACME = {"key": "cust_acme", "name": "Acme", "email": "", "currency": "EUR"}


@pytest.mark.django_db
def test_the_same_request_again_gets_the_same_answer_and_has_no_second_effect():
    caller = Caller()

    first = caller.post("/api/v1/customers", ACME, Idempotency_Key="one")
    again = caller.post("/api/v1/customers", ACME, Idempotency_Key="one")

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Customer.history.count() == 1


@pytest.mark.django_db
def test_the_same_key_with_another_request_is_refused():
    caller = Caller()
    caller.post("/api/v1/customers", ACME, Idempotency_Key="one")

    other_body = caller.post("/api/v1/customers", ACME | {"name": "Other"}, Idempotency_Key="one")
    other_path = caller.post("/api/v1/subscriptions", ACME, Idempotency_Key="one")

    assert other_body.status_code == other_path.status_code == 422
    assert fields_of(other_body) == fields_of(other_path) == {"Idempotency-Key": "reused"}


@pytest.mark.django_db
def test_half_of_a_request_has_no_effect_and_does_not_spend_its_key():
    caller = Caller()
    whole = json.dumps(ACME).encode()

    killed = caller.client.post(
        "/api/v1/customers",
        content_type="application/json",
        headers={"Authorization": f"Bearer {caller.key}", "Idempotency-Key": "one"},
        **{"CONTENT_LENGTH": str(len(whole)), "wsgi.input": BytesIO(whole[:20])},
    )

    assert (killed.status_code, killed.json()["title"]) == (400, "Bad Request")
    assert "before its body was complete" in killed.json()["detail"]
    assert caller.post("/api/v1/customers", ACME, Idempotency_Key="one").status_code == 201


@pytest.mark.django_db
def test_two_callers_may_use_the_same_key():
    assert Caller().post("/api/v1/customers", ACME, Idempotency_Key="one").status_code == 201

    response = Caller().post("/api/v1/customers", ACME | {"key": "cust_other"}, Idempotency_Key="one")

    assert response.status_code == 201


@pytest.mark.django_db
def test_a_refused_request_may_be_corrected_under_its_key():
    caller = Caller()

    assert caller.post("/api/v1/customers", ACME | {"currency": "EU"}, Idempotency_Key="one").status_code == 422
    assert IdempotentRequest.objects.count() == 0
    assert caller.post("/api/v1/customers", ACME, Idempotency_Key="one").status_code == 201


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "x" * 256, "ä", "a\tb"])
def test_a_key_that_cannot_be_kept_is_refused_by_name(key):
    response = Caller().post("/api/v1/customers", ACME, Idempotency_Key=key)

    assert response.status_code == 422
    assert fields_of(response) == {"Idempotency-Key": "invalid"}


@pytest.mark.django_db
def test_the_longest_key_is_kept():
    assert Caller().post("/api/v1/customers", ACME, Idempotency_Key="x" * 255).status_code == 201


@pytest.mark.django_db
def test_without_a_valid_api_key_nothing_is_kept():
    caller = Caller()
    caller.key = "bbk_wrong"

    assert caller.post("/api/v1/customers", ACME, Idempotency_Key="one").status_code == 401
    assert IdempotentRequest.objects.count() == 0


@pytest.mark.django_db
def test_a_failure_of_ours_keeps_neither_effect_nor_answer(monkeypatch):
    caller = Caller()

    def explode(*_: Any) -> None:
        raise RuntimeError("after the effect")

    with monkeypatch.context() as patch:
        patch.setattr("invoicing.api.customers.CustomerSerializer.to_representation", explode)
        assert caller.post("/api/v1/customers", ACME, Idempotency_Key="one").status_code == 500

    assert Customer.objects.count() == 0
    assert caller.post("/api/v1/customers", ACME, Idempotency_Key="one").status_code == 201


@pytest.mark.django_db
def test_old_answers_are_forgotten():
    caller = Caller()
    caller.post("/api/v1/customers", ACME, Idempotency_Key="one")

    assert forget_answers(before=now() - timedelta(days=7)) == 0
    assert forget_answers(before=now() + timedelta(seconds=1)) == 1


@pytest.mark.django_db(transaction=True)
def test_eight_threads_with_one_key_have_one_effect():
    caller = Caller()
    start = threading.Barrier(8)

    def ask(_: int) -> tuple[int, bytes, str | None]:
        try:
            start.wait()
            while True:
                answer = caller.post("/api/v1/customers", ACME, Idempotency_Key="one")
                if answer.status_code != 409:
                    return answer.status_code, answer.content, answer.headers.get("Idempotency-Replayed")
                assert answer.json()["type"] == "urn:billing:problem:in-flight"
                assert answer.headers["Retry-After"] == "1"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))

    assert {status for status, _, _ in answers} == {201}
    assert len({content for _, content, _ in answers}) == 1
    assert [replayed for _, _, replayed in answers].count(None) == 1
    assert Customer.history.count() == 1


@pytest.mark.django_db(transaction=True)
def test_while_the_first_request_is_at_work_the_second_is_told_to_come_again(monkeypatch):
    caller = Caller()
    at_work, go_on = threading.Event(), threading.Event()
    from invoicing.api import customers

    create = customers.create_customer

    def slowly(**fields: Any) -> Any:
        at_work.set()
        assert go_on.wait(20)
        return create(**fields)

    monkeypatch.setattr(customers, "create_customer", slowly)

    def ask() -> int:
        try:
            return caller.post("/api/v1/customers", ACME, Idempotency_Key="one").status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(ask)
        assert at_work.wait(20)
        second = caller.post("/api/v1/customers", ACME, Idempotency_Key="one")
        other_key = Customer.objects.count()
        go_on.set()

    assert second.status_code == 409
    assert second.headers["Retry-After"] == "1"
    assert other_key == 0
    assert first.result() == 201
    assert caller.post("/api/v1/customers", ACME, Idempotency_Key="one").headers["Idempotency-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_a_deferred_rule_refuses_the_effect_and_its_answer_together(monkeypatch):
    caller = Caller()
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
            " 'refused at the end' USING ERRCODE = 'integrity_constraint_violation'; END $$;"
            "CREATE CONSTRAINT TRIGGER refuse_late AFTER INSERT ON invoicing_customer DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION refuse_late()"
        )
    try:
        response = caller.post("/api/v1/customers", ACME, Idempotency_Key="one")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse_late ON invoicing_customer; DROP FUNCTION refuse_late()")

    assert response.status_code == 409
    assert response.json()["detail"] == "refused at the end"
    assert Customer.objects.count() == IdempotentRequest.objects.count() == 0
