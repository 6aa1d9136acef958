"""What tests share: waiting on a condition, never on the clock; and a whole stack of real processes."""

from support.films import film, picture
from support.stack import DANCE, IMAGE, VIDEO, Stack, Worker
from support.waiting import eventually

__all__ = ["DANCE", "IMAGE", "VIDEO", "Stack", "Worker", "eventually", "film", "picture"]
