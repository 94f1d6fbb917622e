"""The portal's pages: each makes one query and shows it."""

from functools import wraps
from typing import Any, Protocol

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from billing_site.kernel import clock
from billing_site.kernel.errors import NotFound
from billing_site.portal.access import SESSION_KEY, customer_of_link, signed_in_customer
from billing_site.portal.queries import home_page


class _CustomerView(Protocol):
    def __call__(self, request: HttpRequest, customer_key: str) -> HttpResponse: ...


def _for_customer(view: _CustomerView) -> Any:
    """Call the view with the signed-in customer's key, or say that a link is needed."""

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponse:
        customer_key = signed_in_customer(request=request)
        if not customer_key:
            return render(request, "portal/no_access.html", status=401)
        return view(request, customer_key)

    return never_cache(guarded)


@require_GET
@never_cache
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """Open the session that a signed link stands for."""
    try:
        customer_key = customer_of_link(token=token)
    except NotFound as problem:
        return render(request, "portal/no_access.html", {"message": problem.message}, status=404)
    request.session[SESSION_KEY] = customer_key
    return redirect("portal:home")


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    """End the portal session."""
    request.session.pop(SESSION_KEY, None)
    return redirect("portal:home")


@require_GET
@_for_customer
def home(request: HttpRequest, customer_key: str) -> HttpResponse:
    """Show usage this period, what it will cost, and the invoices."""
    try:
        page = home_page(customer_key=customer_key, at=clock.now())
    except NotFound:
        request.session.pop(SESSION_KEY, None)
        return render(request, "portal/no_access.html", status=401)
    return render(request, "portal/home.html", {"page": page})
