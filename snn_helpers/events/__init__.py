"""Events without torch: read, write, simulate, store, bin and compare recordings."""
