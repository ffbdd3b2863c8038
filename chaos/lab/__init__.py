"""Labs: places where a topology runs and faults are injected, one file per backend."""
