"""The admin theme: title, colours and navigation."""

UNFOLD = {
    "SITE_TITLE": "Billing",
    "SITE_HEADER": "Billing back office",
    "SHOW_HISTORY": True,
}
