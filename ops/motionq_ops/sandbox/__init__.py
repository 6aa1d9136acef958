"""A stand-in for kie.ai over real HTTP: same addresses, same answers, same ugly parts, no money.

It imports nothing of the product, so that a mistake there can't be repeated here. Start it with
``python -m motionq_ops.sandbox`` or, from Python, with :class:`motionq_ops.sandbox.process.SandboxProcess`.
"""
