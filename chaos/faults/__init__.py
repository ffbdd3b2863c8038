"""The faults of the lab: one small file each, every one with its inverse."""
