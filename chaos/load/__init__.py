"""Load from outside the service: closed-loop users (Locust) and open-loop probes."""
