"""What runs in the clusters, as Kubernetes objects: a pure function of topology and secrets.

`render` gives the objects of every site, `stages` the order in which they are applied and what has to be
ready in between, `pod_of` the pod that is a component of the topology.
"""

from chaos.kube.manifests.pods import PodReference, pod_of, pods
from chaos.kube.manifests.rendering import LAB_IMAGE, render
from chaos.kube.manifests.secrets import Secrets
from chaos.kube.manifests.stages import Stage, stages

__all__ = ["LAB_IMAGE", "PodReference", "Secrets", "Stage", "pod_of", "pods", "render", "stages"]
