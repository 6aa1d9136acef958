"""Benchmarks of motionq on real parts: a real server, a real worker process, the sandbox as the vendor."""
