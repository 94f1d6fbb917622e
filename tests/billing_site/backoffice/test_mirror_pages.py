"""Stripe's objects beside ours: any id of theirs leads to what is here and to what Stripe told last, for whoever sees its notices."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from djstripe import models as mirrored

from billing_site.backoffice.search import MIRRORED, search_everything
from billing_site.kernel.clock import now
from invoicing.payments.mirror import mirror
from invoicing.payments.models import PushIntent
from invoicing.workflows.follow_subscription import link_to_stripe
from tests.billing_site.backoffice.conftest import a_member
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.invoicing.payments.building import an_issued_invoice, run_queued_jobs
from tests.invoicing.payments.conftest import listener, sandbox
from tests.invoicing.test_stripe_subscriptions import at_stripe

__all__ = ["listener", "sandbox"]


@pytest.mark.requirement("S0-029")
@pytest.mark.requirement("S0-032")
@pytest.mark.requirement("S0-033")
def test_every_id_of_stripe_s_leads_to_what_is_here_and_to_what_stripe_told(sandbox: Any) -> None:
    finance, outsider = a_member("fiona", "Finance"), Client()
    invoice = an_issued_invoice()
    run_queued_jobs()
    push = PushIntent.objects.get()
    subscription = invoice.customer.subscriptions.get()
    link_to_stripe(
        subscription=subscription,
        stripe_id=at_stripe(sandbox, customer=invoice.customer.stripe_customer.stripe_id),
        at=now(),
        actor="ann",
        reason="agreed",
    )
    run_queued_jobs(mirrors=True)
    charge = sandbox.get("/v1/charges")["data"][0]
    for kind in ("invoice", "charge", "payment_intent"):
        mirror(
            object_kind=kind,
            object_id={"invoice": push.stripe_invoice_id, "charge": charge["id"]}.get(kind, charge["payment_intent"]),
        )

    for model in (
        mirrored.Customer,
        mirrored.Subscription,
        mirrored.Price,
        mirrored.Invoice,
        mirrored.PaymentIntent,
        mirrored.Charge,
    ):
        [row] = model.objects.all()
        found = search_everything(term=row.id, allowed=lambda permission: True)
        urls = [hit.url for group in found for hit in group.hits]
        page = reverse(f"admin:djstripe_{model._meta.model_name}_change", args=[row.pk])
        assert "$" not in str(row) and "<id=" not in str(row)
        shown = finance.get(page)
        assert page in urls, (row.id, urls)
        assert row.id in text_of(shown)
        if model is not mirrored.Price:
            assert any(name in text_of(shown) for name in (str(invoice), subscription.key, invoice.customer.name))
    assert set(MIRRORED.values()) >= {mirrored.Dispute, mirrored.PaymentMethod}
    for told in (mirrored.Invoice.objects.get(), mirrored.PaymentIntent.objects.get()):
        assert str(told).endswith(", USD 280.00"), str(told)
    listed_invoices = text_of(finance.get(reverse("admin:djstripe_invoice_changelist")))
    assert str(invoice) in listed_invoices and "USD 280.00" in listed_invoices and "Djstripe" not in listed_invoices
    [hit] = search_everything(term=str(push.stripe_invoice_id), allowed=lambda name: name == "invoicing.view_invoice")[
        0
    ].hits
    assert hit.title == invoice.number
    assert text_of(finance.get(reverse("admin:djstripe_invoice_changelist"))).count(str(push.stripe_invoice_id))
    outsider.force_login(User.objects.create_user("otto", is_staff=True))
    assert outsider.get(reverse("admin:djstripe_invoice_changelist")).status_code == 403
