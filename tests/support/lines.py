"""Many jobs at once, brought into their tenants' lines, where the gate finds them."""

from __future__ import annotations

from typing import Any

from motionq.contract.states import UPLOADED, State
from motionq.contract.store import NewJob
from support.life import ESTIMATE, SPEC, Life


def new(job_id: str, tenant: str = "default", **given: Any) -> NewJob:
    """A job to be made; `given` are further fields of NewJob."""
    usual: dict[str, Any] = {"id": job_id, "spec": SPEC, "labels": {}, "tenant": tenant}
    return NewJob(**(usual | given))


def ready(lived: Life, *jobs: NewJob) -> None:
    """Makes jobs and brings them into their lines, many at once."""
    lived.store.create(jobs)
    lived.time_passes()
    claims = lived.store.claim("upload", room=len(jobs), lease=20)
    assert len(claims) == len(jobs)
    pipe, now = lived.redis.pipeline(transaction=False), lived.store.now()
    uploaded = UPLOADED.for_lua() | {"to": {State.QUEUED: State.READY}}
    for claim in claims:
        argument = {"id": claim.job_id, "call": "c", "move": uploaded, "claim": f"upload.{claim.n}"}
        lived.store.scripts.run("move", argument | {"set": {"uploaded_at": now, "estimate": ESTIMATE}}, pipe)
    assert {tuple(answer) for answer in pipe.execute()} == {("ok", "ready")}


def crowd(lived: Life, count: int, tenant: str) -> None:
    """A line of `count` jobs `<tenant>0`, `<tenant>1`…, of which the first is real and the others are its copies."""
    ready(lived, new(f"{tenant}0", tenant))
    keys = (lived.keys.job(""), lived.keys.line(tenant), lived.keys.state(State.READY))
    lived.redis.eval(_COPIES, len(keys), *keys, tenant, count)
    assert lived.redis.zcard(lived.keys.line(tenant)) == count


_COPIES = """
local first = ARGV[1] .. '0'
local record = redis.call('HGETALL', KEYS[1] .. first)
local score = redis.call('ZSCORE', KEYS[2], first)
for n = 1, ARGV[2] - 1 do
  redis.call('HSET', KEYS[1] .. ARGV[1] .. n, unpack(record))
  redis.call('ZADD', KEYS[2], score, ARGV[1] .. n)
  redis.call('ZADD', KEYS[3], score, ARGV[1] .. n)
end
"""


def armed(lived: Life) -> list[str]:
    """Armed jobs, in the order in which they were armed."""
    slots = [slot.rpartition(":")[0] for slot in lived.redis.zrange(lived.keys.slots, 0, -1)]
    return [r.id for r in lived.store.get_many(slots) if r.state is State.ARMED]
