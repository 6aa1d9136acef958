"""A job's purchases for people: never by their nonces, which are secrets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from motionq.contract.job import iso
from motionq.contract.record import PurchaseLine, Record
from motionq.contract.states import Purchase

_WORDS = {
    Purchase.OPEN: "open",
    Purchase.NOT_SENT: "not sent",
    Purchase.REFUSED: "refused",
    Purchase.REFUNDED: "refunded",
    Purchase.PAID: "paid",
    Purchase.STRAY: "stray (booked as not bought, yet kie.ai made a task)",
    Purchase.WRITTEN_OFF: "written off (charged unknown)",
}


def open_of(record: Record) -> tuple[PurchaseLine, ...]:
    """The purchases that may cost money, or may yet: nobody buys beside them without consent."""
    return tuple(p for p in record.purchases if p.status is Purchase.OPEN)


def told(purchase: PurchaseLine) -> str:
    """When a purchase was sent and which task it has: `sent 2031-05-01T12:00:00.000Z, no task ID`."""
    at = datetime.fromtimestamp((purchase.sent_at or purchase.armed_at) / 1000, UTC)
    when = f"{'sent' if purchase.sent_at else 'perhaps sent'} {iso(at)}"
    return f"{when}, {f'task {purchase.task_id}' if purchase.task_id else 'no task ID'}"


def counted(purchases: Iterable[PurchaseLine]) -> str:
    """`1 paid, 2 refused`, in the order of the table of statuses; empty where nothing was armed."""
    found = Counter(p.status for p in purchases)
    return ", ".join(f"{found[status]} {words}" for status, words in _WORDS.items() if found[status])
