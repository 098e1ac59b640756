"""What clients read."""

TOO_MANY_REQUESTS = "Exceeded maximum request limit from ai-load-balancer."
