"""AsyncFlow: one server behind three edges. Its steps take constant times, and arrivals are sampled per user.

So this is M/D/1 rather than M/M/1 with the same number of requests, and less work per request, not more.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

NAME = "AsyncFlow"

_MODEL = """
rqs_input:
  id: generator-1
  avg_active_users: {{ mean: 100, distribution: poisson }}
  avg_request_per_minute_per_user: {{ mean: {per_minute}, distribution: poisson }}
  user_sampling_window: 60
topology_graph:
  nodes:
    client: {{ id: client-1 }}
    servers:
      - id: app-1
        server_resources: {{ cpu_cores: {servers}, ram_mb: 2048 }}
        endpoints:
          - endpoint_name: /api
            steps:
              - {{ kind: initial_parsing, step_operation: {{ cpu_time: {service} }} }}
  edges:
    - {{ id: gen-client, source: generator-1, target: client-1, latency: {latency} }}
    - {{ id: client-app, source: client-1, target: app-1, latency: {latency} }}
    - {{ id: app-client, source: app-1, target: client-1, latency: {latency} }}
sim_settings:
  total_simulation_time: {duration}
  sample_period_s: 0.1
  enabled_sample_metrics: [ready_queue_len]
  enabled_event_metrics: [rqs_clock]
"""

_LATENCY = "{ mean: 1.0e-6, distribution: exponential }"


def missing() -> str | None:
    """Whether it can be imported."""
    if not find_spec("asyncflow"):
        needs = "needs Python 3.12 or newer" if sys.version_info < (3, 12) else "pip install '.[bench]'"
        return f"not installed ({needs})"
    return None


def line(rate: float, service: float, servers: int, customers: int, seed: int) -> float:
    """As many requests at one server; the seed is not used, as AsyncFlow has none."""
    import simpy
    from asyncflow.runtime.simulation_runner import SimulationRunner

    del seed
    scale = 0.01 / service  # it takes whole seconds: a service of 10 ms
    duration = max(5, round(customers / (rate / scale)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.yml"
        path.write_text(
            _MODEL.format(
                per_minute=rate / scale * 60 / 100,
                servers=servers,
                service=0.01,
                duration=duration,
                latency=_LATENCY,
            )
        )
        found = SimulationRunner.from_yaml(env=simpy.Environment(), yaml_path=path).run()
    return (
        float(next(value for key, value in found.get_latency_stats().items() if "mean" in str(key).lower()))
        / scale
    )
