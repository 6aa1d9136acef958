"""Everything around the queue: the command line, the local stack, the vendor's sandbox, benchmarks."""
