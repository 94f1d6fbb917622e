"""Addresses that bounced or complained, in the admin: not written to until somebody lifts that, with a reason."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, confirm_with_reason, moment_column
from billing_site.display.figures import link, moment
from billing_site.display.pills import GREY, RED, pill
from billing_site.kernel.clock import now
from dunning.notices.decisions import lift_block
from dunning.notices.models import BlockedAddress
from invoicing.customers.models import Customer

LIFT = "dunning.lift_blockedaddress"


class StateFilter(admin.SimpleListFilter):
    """By whether it is still so."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("blocked", "Not written to"), ("lifted", "Lifted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        if self.value() not in ("blocked", "lifted"):
            return queryset
        return queryset.filter(lifted_at__isnull=self.value() == "blocked")


@admin.register(BlockedAddress)
class BlockedAddressAdmin(ReadOnlyAdmin):
    """Addresses that are, or were, not written to."""

    list_display = ("address", "state", "why", "customers", moment_column("blocked_at", "Since"))
    list_filter = (StateFilter, "event__kind")
    search_fields = ("address",)
    list_select_related = ("event__notice",)
    ordering = ("-id",)
    fields = ("address", "state", "why", "said", "notice", "customers", "since", "lifted")
    empty_message = "An address from which mail came back for good, or whose owner called it unwanted, stands here; nothing is sent to it."

    @admin.display(description="State", ordering="lifted_at")
    def state(self, block: BlockedAddress) -> SafeString:
        """Show whether it is written to."""
        return pill("not written to", tone=RED) if block.lifted_at is None else pill("lifted", tone=GREY)

    @admin.display(description="Why", ordering="event__kind")
    def why(self, block: BlockedAddress) -> str:
        """Show what happened."""
        return block.event.get_kind_display()

    @admin.display(description="The provider says")
    def said(self, block: BlockedAddress) -> str:
        """Show it in the provider's words."""
        return block.event.said or "nothing"

    @admin.display(description="Mail")
    def notice(self, block: BlockedAddress) -> str | SafeString:
        """Link to the notice that came back."""
        notice = block.event.notice
        if notice is None:
            return "none of our notices"
        return link(reverse("admin:dunning_notice_change", args=[notice.pk]), str(notice))

    @admin.display(description="Customers")
    def customers(self, block: BlockedAddress) -> str | SafeString:
        """Link to the customers with this address."""
        known = Customer.objects.filter(email__iexact=block.address).order_by("name")[:5]
        rows = [(link(reverse("admin:invoicing_customer_change", args=[one.pk]), one.name),) for one in known]
        return format_html_join(", ", "{}", rows) or "nobody any more"

    @admin.display(description="Since")
    def since(self, block: BlockedAddress) -> SafeString:
        """Show since when."""
        return moment(block.blocked_at)

    @admin.display(description="Lifted")
    def lifted(self, block: BlockedAddress) -> str:
        """Show by whom, and why."""
        return f"{block.reason} ({block.lifted_by}, {block.lifted_at:%Y-%m-%d %H:%M} UTC)" if block.lifted_at else "no"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    change_form_after_template = "backoffice/blocked_address.html"

    def get_urls(self) -> list[Any]:
        """Add the page on which it is lifted."""
        view = self.admin_site.admin_view(self.lift)
        return [path("<int:object_id>/lift/", view, name="dunning_blockedaddress_lift"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show it, with the button where this person may lift it."""
        block: BlockedAddress = self.row_or_404(request, object_id)
        may_lift = block.lifted_at is None and request.user.has_perm(LIFT)
        context = {"may_lift": may_lift, "blocked": block, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def lift(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Let an address be written to again."""
        block: BlockedAddress = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=block,
            permission=LIFT,
            deed=lambda **who: lift_block(block_id=block.pk, at=now(), **who),
            done=lambda done: f"{done} is written to again.",
            title=f"Write to {block} again",
            effect=f"Notices go to {block} from now on. Those that could not be delivered meanwhile are sent only where somebody says so on their pages.",
            submit="Write to it again",
        )
