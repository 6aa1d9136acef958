"""`motionq doctor`: what is wrong with this deployment, why it matters, and how to mend it.

Each file asks one thing: a function that gathers facts, and one that judges them without any I/O.
"""
