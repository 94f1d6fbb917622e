"""What a drill orders where nothing else is said, in percent of the calls or webhooks that it could strike."""

DEFAULT_PERCENTS = {
    "rate_limit": 10,
    "http_500": 5,
    "timeout_after_effect": 5,
    "drop_webhooks": 7,
    "duplicate_webhooks": 7,
    "reorder_webhooks": 6,
}
