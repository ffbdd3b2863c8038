"""What the lab takes from the machine: namespaces, cgroups, processes; and what the machine can give."""
