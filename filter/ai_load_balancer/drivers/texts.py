"""What clients read."""

TOO_MANY_REQUESTS = "Exceeded maximum request limit from ai-load-balancer."
RETRY_AFTER = (("retry-after", "1"),)  # s: room comes with the end of any request
