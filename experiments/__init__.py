"""What is done to a system, and what is claimed about it: experiments, workloads, faults, metrics."""
