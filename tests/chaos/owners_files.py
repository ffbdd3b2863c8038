"""Files that the owner of a cluster has: a kubeconfig, and an experiment of one fault on one site."""

from __future__ import annotations

from pathlib import Path

CONFIG = """
apiVersion: v1
kind: Config
current-context: prod
clusters:
- {name: one, cluster: {server: 'https://192.0.2.1:6443', certificate-authority: ca.pem}}
- {name: two, cluster: {server: 'https://192.0.2.2:6443', insecure-skip-tls-verify: true}}
contexts:
- {name: prod, context: {cluster: one, user: admin}}
- {name: test, context: {cluster: two, user: robot}}
- {name: torn, context: {cluster: gone, user: robot}}
- {name: nobody, context: {cluster: two, user: gone}}
- {name: again, context: {cluster: one, user: robot}}
users:
- {name: admin, user: {client-certificate: admin.pem, client-key: admin.key}}
- {name: robot, user: {token: secret}}
"""
"""Two clusters; contexts that fit, and some that lead nowhere."""


def write_kubeconfig(folder: Path) -> Path:
    """A file with it."""
    file = folder / "config"
    file.write_text(CONFIG)
    return file


EXPERIMENT = """
title: {title}
description: One fault on a cluster that somebody already has.
{controls}steady-state-hypothesis:
  title: It answers
  probes:
    - name: every component is up
      type: probe
      tolerance: true
      provider: {{type: python, module: chaos.toolkit.probes, func: all_components_up}}
method:
  - name: break it
    type: action
    provider:
      type: python
      module: chaos.toolkit.actions
      func: {function}
      arguments: {arguments}
extensions:
  - name: faultline
    topology: iris-1site
    workload: {{flow: workflow, users: 3, ramp: 3/s, think: 2s, duration: 40s, warmup: 8s}}
    hypotheses:
      - {{metric: lost_commits, expect: "<= 0"}}
"""

CONTROLS = """controls:
  - {name: faultline, provider: {type: python, module: chaos.toolkit.control}}
"""


def one_fault(function: str, arguments: str, *, title: str, control: bool = False) -> str:
    """An experiment on `iris-1site` that asks one function of `chaos.toolkit.actions`.

    Args:
        function: its name.
        arguments: in YAML's flow style.
        title: of the experiment.
        control: the lab's own control is part of it, so that it can be run.
    """
    controls = CONTROLS if control else ""
    return EXPERIMENT.format(title=title, function=function, arguments=arguments, controls=controls)
