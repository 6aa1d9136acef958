"""What must hold of every key after every step: the same checker as that of `motionq bench chaos`."""

from motionq_ops.invariants import violations

__all__ = ["violations"]
