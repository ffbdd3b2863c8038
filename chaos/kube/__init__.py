"""The lab on Kubernetes: one cluster per site."""
