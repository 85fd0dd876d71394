"""The micro-benchmark and the correctness check: what the command line and the asv suite share."""
