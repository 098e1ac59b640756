"""ai-load-balancer: routes requests to language models to the endpoint that serves them best."""
