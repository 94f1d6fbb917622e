"""Where Stripe's webhooks arrive: verify, store, answer; everything else is a job (S1-032..035)."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError, TooLarge
from invoicing.payments.intake import receive_notice

# Stripe's events are far smaller; anything larger is not read at all.
WEBHOOK_BYTES_MAX = 1024 * 1024


@csrf_exempt
@require_POST
def receive_stripe_webhook(request: HttpRequest) -> JsonResponse:
    """Answer 200 once the notice is stored, 400 to what Stripe did not sign; any 5xx makes Stripe send it again."""
    try:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > WEBHOOK_BYTES_MAX:
            raise TooLarge(f"a webhook has at most {WEBHOOK_BYTES_MAX} bytes")
        notice = receive_notice(payload=request.body, signature=request.headers.get("Stripe-Signature", ""), at=now())
    except BillingError as error:
        return JsonResponse({"code": error.code, "detail": error.message}, status=error.status)
    return JsonResponse({"received": notice.event_id})
