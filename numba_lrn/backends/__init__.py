"""Where the operator runs: one package a device, and the selector that finds it from the array's type."""
