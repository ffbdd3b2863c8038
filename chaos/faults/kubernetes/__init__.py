"""The faults of labs whose sites are Kubernetes clusters: one small file each, every one with its inverse."""
