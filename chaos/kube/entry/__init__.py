"""What runs first in a pod of the lab, where a daemon needs a decision or its data before it can start.

These modules run inside the lab image under a fraction of a core, so they import little: nothing
that would pull in the model of the topology.
"""
