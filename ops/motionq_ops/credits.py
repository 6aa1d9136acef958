"""`motionq credits`: what the vendor's account has left."""

from __future__ import annotations

from contextlib import closing

from motionq.contract.errors import MotionQueueError
from motionq.output import Code, say, say_json
from motionq_worker.kie.client import KieClient
from motionq_worker.kie.errors import KieFault
from motionq_worker.settings import account, load_account

_US_DOLLARS = 0.005  # per credit, by kie.ai's price pages (2026)


class VendorFault(MotionQueueError):
    """kie.ai could not be asked, or refused; the message has its words."""

    kind = "vendor"


def credits(*, as_json: bool) -> int:
    """Asks kie.ai for the balance and prints it. Raises VendorFault, InvalidSettings."""
    with closing(KieClient(account(load_account()))) as client:
        try:
            balance = client.credits()
        except KieFault as fault:
            raise VendorFault(str(fault)) from None
    if as_json:
        say_json({"credits": balance})
    else:
        say(f"{balance:,.10g} credits (about US${balance * _US_DOLLARS:,.2f})")
    return Code.DONE
