"""Every change says on which request it was made: of a page, of the API, of a job that a request has queued, of a command, of many rows at once."""

import logging
import re

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ
from django_q.signals import pre_execute
from django_q.tasks import async_task

from billing_site.kernel import jobs
from billing_site.kernel.history import (
    create_all_with_reason,
    delete_with_reason,
    save_with_reason,
    update_all_with_reason,
)
from billing_site.kernel.processes import done_beside_each_other
from billing_site.kernel.requests import HEADER, WithRequestId, begin, new_name, request_id, requested
from invoicing.catalog.models import Product
from invoicing.customers.models import Customer
from tests.factories import a_customer

WHO = {"actor": "fiona", "reason": "asked for"}


def requests_of(row: Product) -> list[str]:
    return list(Product.history.filter(id=row.pk).order_by("history_id").values_list("history_request_id", flat=True))


@pytest.mark.django_db
def test_a_change_is_told_under_the_request_that_made_it_however_many_rows_it_is_of() -> None:
    with requested("req-1"):
        one = Product(key="one", name="One")
        save_with_reason(one, **WHO)
    with requested("req-2"):
        many = [Product(key=key, name=key) for key in ("two", "three")]
        create_all_with_reason(many, **WHO)
    with requested("req-3"):
        one.name = "First"
        update_all_with_reason([one], fields=["name"], **WHO)
    with requested("req-4"):
        key = one.pk
        delete_with_reason(one, **WHO)
        one.pk = key

    assert requests_of(one) == ["req-1", "req-3", "req-4"]
    assert [requests_of(row) for row in many] == [["req-2"], ["req-2"]]
    assert request_id() == "", "what is done in a shell is on nobody's request"


@pytest.mark.parametrize(
    ("given", "kept"), [("trace-42.a:b", True), ("", False), ("a b", False), ("x" * 65, False), ("<b>", False)]
)
def test_the_answer_says_the_name_of_its_request_and_takes_the_callers_where_it_is_one(
    client: Client, given: str, kept: bool
) -> None:
    names = [client.get("/nothing-here", headers={HEADER: given})[HEADER] for _ in range(2)]

    if kept:
        assert names == [given, given]
    else:
        assert names[0] != names[1] and all(re.fullmatch("req-[0-9a-f]{16}", name) for name in names)


@pytest.mark.django_db
def test_what_a_page_changes_is_found_by_its_request(client: Client, admin_user: object) -> None:
    client.force_login(admin_user)  # type: ignore[arg-type]
    product = Product(key="storage", name="Storage")
    save_with_reason(product, **WHO)
    edit = reverse("admin:invoicing_product_change", args=[product.pk])
    form = client.get(edit).context["adminform"].form
    known = {name: form.initial.get(name) or "" for name in form.fields} | {"name": "Space", "reason": "renamed"}
    answer = client.post(edit, known, headers={HEADER: "renaming-1"})
    assert answer.status_code == 302, answer.context["adminform"].form.errors

    page = client.get(reverse("admin:backoffice_changes"), {"request": "renaming-1"})
    others = client.get(reverse("admin:backoffice_changes"), {"request": "renaming-2"})

    [change] = page.context["changes"]
    assert (change.subject, change.request, change.reason) == ("storage", "renaming-1", "renamed")
    assert "renaming-1" in page.content.decode() and others.context["changes"] == []


@pytest.mark.django_db
def test_a_job_is_told_under_the_request_that_queued_it_and_one_of_the_scheduler_under_its_own() -> None:
    with requested("req-5"):
        jobs.queue("math.floor", 1)
        jobs.queue_each("math.floor", [2, 3])
    async_task("math.floor", 4)
    begun = []
    for job in OrmQ.objects.order_by("id"):
        pre_execute.send(sender="django_q", func=None, task=job.task)
        begun.append(request_id())
    begin("")

    assert begun[:3] == ["req-5"] * 3
    assert re.fullmatch("job-[0-9a-f]{16}", begun[3])


def renamed(number: int) -> str:
    """Change a customer in another process."""
    customer = Customer.objects.get(pk=number)
    customer.name = "Elsewhere"
    save_with_reason(customer, **WHO)
    return request_id()


@pytest.mark.django_db(transaction=True)
def test_what_other_processes_change_for_a_command_is_told_under_the_command() -> None:
    customer = a_customer("cust_acme")
    name = new_name(of="issue_billing")
    with requested(name):
        [(_, told)] = done_beside_each_other(renamed, [customer.pk], processes=1, touches=lambda pk: frozenset({pk}))

    assert told == name and name.startswith("issue_billing-")
    assert customer.history.latest().history_request_id == name  # type: ignore[attr-defined]


def test_each_line_of_the_log_says_the_request() -> None:
    line = logging.LogRecord("billing", logging.WARNING, __file__, 1, "it waits", None, None)
    with requested("req-6"):
        assert WithRequestId().filter(line) and line.request_id == "req-6"  # type: ignore[attr-defined]
    assert WithRequestId().filter(line) and line.request_id == "-"  # type: ignore[attr-defined]


@pytest.mark.django_db
def test_every_history_says_the_request() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '%%\\_historical%%' AND table_name NOT IN"
            " (SELECT table_name FROM information_schema.columns WHERE column_name = 'history_request_id')"
        )
        assert cursor.fetchall() == []
