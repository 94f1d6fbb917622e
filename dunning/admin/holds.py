"""Holds from a customer's own page: a VIP, or a case at court, is left alone before anything is late."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path, reverse

from billing_site.display.admin import ReadOnlyAdmin, ReasonForm, actor_of, attempt_asked, confirmation, go
from billing_site.kernel.clock import now
from dunning.admin.forms import HoldForm
from dunning.arrangements.operations import hold_dunning, lift_hold
from dunning.arrangements.queries import hold_of
from invoicing.customers.models import Customer

ARRANGE = "dunning.arrange_dunningcase"


class HoldPages(ReadOnlyAdmin):
    """The pages by which a customer is held, and the hold lifted, where there may be no case."""

    def get_urls(self) -> list[Any]:
        """Add them."""
        view = self.admin_site.admin_view
        return [
            path("of/<int:customer_id>/hold/", view(self.hold_customer), name="dunning_dunningcase_hold_customer"),
            path("of/<int:customer_id>/lift/", view(self.lift_customer), name="dunning_dunningcase_lift_customer"),
            *super().get_urls(),
        ]

    def hold_customer(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """Do nothing about a customer for now, from its own page, also before it is late with anything."""
        form, customer = HoldForm(request.POST or None), get_object_or_404(Customer, pk=customer_id)
        return self._of_customer(
            request,
            customer,
            form=form,
            deed=lambda told, **who: hold_dunning(
                customer=customer, kind=told["kind"], until=told["until"], at=now(), **who
            ),
            title="Hold dunning",
            effect="Nothing is sent, charged again, restricted or suspended until the hold ends, whatever is late.",
        )

    def lift_customer(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """Lift the hold of a customer, from its own page."""
        customer = get_object_or_404(Customer, pk=customer_id)
        hold = hold_of(customer_id=customer.pk, at=now())
        return self._of_customer(
            request,
            customer,
            form=ReasonForm(request.POST or None),
            deed=lambda _, **who: hold and lift_hold(hold_id=hold.pk, at=now(), **who),
            title="Lift the hold",
            effect="What is due is done from now on, at the distances of the policy.",
        )

    def _of_customer(
        self,
        request: HttpRequest,
        customer: Customer,
        *,
        form: ReasonForm,
        deed: Callable[..., Any],
        title: str,
        effect: str,
    ) -> HttpResponse:
        page = reverse("admin:invoicing_customer_change", args=[customer.pk])
        return self.arrange(
            request, form=form, deed=deed, title=title, heading=f"{title} of {customer}", effect=effect, back=page
        )

    def arrange(
        self,
        request: HttpRequest,
        *,
        form: ReasonForm,
        deed: Callable[..., Any],
        title: str,
        heading: str,
        effect: str,
        back: str,
        row: Model | None = None,
    ) -> HttpResponse:
        """Ask what is to be arranged and why, then do it with what was said, and go back to where that is shown."""
        if not request.user.has_perm(ARRANGE):
            raise PermissionDenied
        if request.method == "POST" and form.is_valid():
            who = {"actor": actor_of(request), "reason": form.cleaned_data["reason"]}
            act = partial(deed, form.cleaned_data, **who)
            if attempt_asked(request, form, act, done=lambda _: f"{title}: written down."):
                return go(back)
        return confirmation(
            request, admin=self, title=heading, effect=effect, form=form, submit=title, back=back, row=row
        )
