"""Coupons and discounts in the admin: made once, redeemed for a customer, closed and ended with a reason; never edited."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    OperationForm,
    TrackedAdmin,
    confirm_with_reason,
    moment_column,
)
from billing_site.display.figures import figure, link
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidFields, InvalidInput
from billing_site.kernel.words import counted
from invoicing.admin.keys_field import KeysField, offer_what_exists
from invoicing.catalog.coupon import Coupon
from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import close_coupon, create_coupon, terms_text
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.redeem import end_discount, redeem_coupon

TERMS = ("percent_off", "amount_off", "currency", "minimum_amount", "duration", "periods", "plans", "prices")
LIMITS = ("redeem_by", "max_redemptions", "position")
SHOWN = ("code", "name", "state", "takes_off", "reduces", "redeemed", "redeem_by", "position")


class CouponForm(OperationForm):
    """The terms of a coupon; what is accepted is what the catalog file accepts."""

    plans = KeysField(noun="plan", label="Plans that it reduces", help_text="None: all.")
    prices = KeysField(
        noun="price", label="Prices that it reduces", help_text="None: all, and what minimum spend adds too."
    )
    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    class Meta:
        model = Coupon
        fields = ("code", "name", *TERMS[:6], *LIMITS)
        labels = {
            "percent_off": "Per cent off",
            "amount_off": "Or an amount off",
            "minimum_amount": "Least amount",
            "duration": "How long",
            "periods": "Billing periods",
            "redeem_by": "Redeem before (UTC)",
            "max_redemptions": "Redeemed at most",
            "position": "Place among several",
        }
        help_texts = {
            "percent_off": "20 takes off a fifth. Either this or an amount.",
            "currency": "Of the amounts above and below: EUR. Not needed for a percentage alone.",
            "max_redemptions": "How many customers can redeem it. Empty: any number.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        """Offer what it can reduce."""
        super().__init__(*args, **options)
        offer_what_exists(self)

    def clean_code(self) -> str:
        """Write it as it is stored."""
        return str(self.cleaned_data["code"]).strip().upper()

    def operate(self, *, actor: str) -> Coupon:
        """Make it."""
        fields = self.cleaned_data
        document = {name: value for name, value in fields.items() if name != "reason" and value not in (None, "", [])}
        entry, mistakes = read_coupon(document=document)
        if mistakes:
            raise InvalidFields(tuple(mistakes))
        return create_coupon(entry=entry, actor=actor, reason=fields["reason"])[0]


@admin.register(Coupon)
class CouponAdmin(TrackedAdmin):
    """What a code takes off the bills of those who redeem it."""

    form = CouponForm
    list_display = ("code", "name", "takes_off", "redeemed", moment_column("redeem_by", "Redeem before"), "state")
    search_fields = ("code", "name")
    ordering = ("-id",)
    fieldsets = (
        ("What", {"fields": ("code", "name", *TERMS)}),
        ("Who may redeem it, and its place among others", {"fields": LIMITS}),
        ("Why", {"fields": ("reason",)}),
    )
    actions_detail = ("close",)
    add_title = "Make a coupon"
    add_words = "A coupon takes something off the bills of whoever redeems it. Its terms never change: it is closed, and another one made."
    empty_message = "A coupon takes a percentage or an amount off the bills of those who redeem it; make one here, over the API or in the catalog file."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count who redeemed it."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(redeemed_by=Count("discounts"))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Ask for the terms and a reason while it is made, say the terms in words afterwards."""
        return self.fieldsets if obj is None else ((None, {"fields": SHOWN}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what became of it."""
        return () if obj is None else SHOWN

    @admin.display(description="Takes off")
    def takes_off(self, coupon: Coupon) -> str:
        """Say it in words."""
        return terms_text(coupon=coupon)

    @admin.display(description="Redeemed", ordering="redeemed_by")
    def redeemed(self, coupon: Any) -> SafeString:
        """Link to the discounts that it became."""
        of = f" of {coupon.max_redemptions:,}" if coupon.max_redemptions else ""
        url = reverse("admin:invoicing_discount_changelist") + f"?coupon__id__exact={coupon.pk}"
        return link(url, f"{coupon.redeemed_by:,}{of}")

    @admin.display(description="Of what")
    def reduces(self, coupon: Coupon) -> str:
        """Say which plans and prices it is for."""
        if not coupon.plans and not coupon.prices:
            return "everything that is charged"
        parts = [("plans", coupon.plans), ("prices", coupon.prices)]
        return "; ".join(f"{noun} {', '.join(keys)}" for noun, keys in parts if keys)

    @admin.display(description="State")
    def state(self, coupon: Any) -> SafeString:
        """Show whether it can be redeemed."""
        if coupon.closed_at is not None:
            return pill("ended", why="closed")
        if coupon.redeem_by is not None and coupon.redeem_by <= now():
            return pill("ended", why="too late")
        if coupon.max_redemptions is not None and coupon.redeemed_by >= coupon.max_redemptions:
            return pill("ended", why="used up")
        return pill("running", why="can be redeemed")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Terms stay."""
        return False

    @action(description="Close the coupon", url_path="close")
    def close(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then let nobody redeem it any more."""
        coupon = self.row_or_404(request, object_id)
        number = coupon.redeemed_by
        return confirm_with_reason(
            request,
            admin=self,
            row=coupon,
            permission="invoicing.change_coupon",
            deed=lambda **who: close_coupon(code=coupon.code, at=now(), **who),
            done=lambda closed: f"Nobody can redeem {closed} any more.",
            title=f"Close coupon {coupon}",
            effect=f"Nobody can redeem {coupon} any more. {number:,} {counted('discount', number)} that it became go on.",
            submit="Close the coupon",
            dangerous=True,
        )


class RedeemForm(OperationForm):
    """Which coupon is redeemed for whom."""

    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    renamed: ClassVar = {"code": "coupon"}

    class Meta:
        model = Discount
        fields = ("coupon", "customer", "subscription")

    def operate(self, *, actor: str) -> Discount:
        """Redeem it; the same a second time is the discount that exists."""
        fields = self.cleaned_data
        customer, subscription = fields["customer"], fields.get("subscription")
        if subscription is not None and subscription.customer_id != customer.pk:
            raise InvalidInput(f"is not one of {customer}", field="subscription")
        return redeem_coupon(
            code=fields["coupon"].code,
            customer=customer,
            subscription=subscription,
            at=now(),
            actor=actor,
            reason=fields["reason"],
        )


@admin.register(Discount)
class DiscountAdmin(TrackedAdmin):
    """Coupons that customers have redeemed."""

    form = RedeemForm
    list_display = (
        "coupon_link",
        "customer_link",
        "subscription",
        "takes_off",
        moment_column("redeemed_at", "Redeemed"),
        moment_column("ended_at", "Ended"),
    )
    list_select_related = ("coupon", "customer", "subscription")
    list_filter = (("coupon", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("coupon__code", "customer__key", "customer__name", "subscription__key")
    autocomplete_fields = ("coupon", "customer", "subscription")
    ordering = ("-id",)
    actions_detail = ("end",)
    add_title = "Redeem a coupon"
    add_words = "From the billing period that runs now on, the coupon reduces what the customer is charged. No invoice that is issued changes."
    empty_message = "A discount is a coupon that a customer has redeemed; redeem one here or over the API."

    @admin.display(description="Coupon", ordering="coupon__code")
    def coupon_link(self, discount: Discount) -> str:
        """Name the coupon; the row's page is the discount's."""
        return str(discount.coupon)

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, discount: Discount) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[discount.customer_id]), discount.customer)

    @admin.display(description="Takes off")
    def takes_off(self, discount: Discount) -> str:
        """Say it in words."""
        return terms_text(coupon=discount.coupon)

    @admin.display(description="Taken off so far")
    def taken_off(self, discount: Discount) -> SafeString:
        """Show what issued invoices hold of it."""
        return figure(amount=taken_off(discount=discount), currency=discount.customer.currency)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask for a reason while it is redeemed, show what became of it afterwards."""
        whose = ("coupon", "customer", "subscription")
        return (*whose, "reason") if obj is None else (*whose, "takes_off", "redeemed_at", "ended_at", "taken_off")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what became of it."""
        return () if obj is None else ("takes_off", "redeemed_at", "ended_at", "taken_off")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Discounts are ended, not edited."""
        return False

    @action(description="End the discount", url_path="end")
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then reduce no later billing period."""
        discount = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=discount,
            permission="invoicing.change_discount",
            deed=lambda **who: end_discount(discount_id=discount.pk, at=now(), **who),
            done=lambda ended: f"{ended.coupon} reduces no later billing period of {ended.customer}.",
            title=f"End {discount.coupon} for {discount.customer}",
            effect="The billing period that runs now is still reduced, those that begin from now on are not.",
            submit="End the discount",
            dangerous=True,
        )


def taken_off(*, discount: Discount) -> Decimal:
    """Return what issued invoices of a discount's customer took off by it, not negative."""
    lines = (
        line
        for invoice in discount.customer.invoices.exclude(status__in=("draft", "void")).prefetch_related("lines")
        for line in invoice.lines.all()
        if line.rated["inputs"].get("reference") == f":discount/{discount.pk}" and line.kind == "adjustment"
    )
    return sum((-line.amount.amount for line in lines), Decimal(0))
