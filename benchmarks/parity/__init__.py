"""Compare scionwood with mergekit on the same configurations: ``make parity``."""
