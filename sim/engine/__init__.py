"""The reference engine on SimPy: protocols with links, CPUs and clocks."""
