"""Every way in which kie.ai, or the road to it, can fail, as a tree.

KieFault
├── a purchase (createTask), where the difference is money
│   ├── NotSent          nothing of the request left this machine: nothing was bought
│   ├── Refused          the vendor answered in its own words and made no task: nothing was bought
│   └── Unknown          sent, and no answer that can be trusted: a task may exist
├── a free call (upload, recordInfo, credit), which may always be repeated
│   ├── Unavailable      no usable answer: try again later
│   ├── RateLimited      too many calls: try again more slowly
│   ├── KeyRefused       the account's key does not open this
│   └── CallRefused      the vendor will not accept this call as it stands
│       └── UploadRefused
└── SourceBroken         the file to upload can't be read to its full size: not the vendor's fault

What a `Refused` means for the job and for the account stands in the table `Refusal`.
"""

from __future__ import annotations

from enum import Enum, StrEnum

from motionq_worker.kie.words import redact


class Meaning(Enum):
    """What a refusal asks the queue to do."""

    PAUSE = "pause"  # it concerns the whole account: stop submitting, this job waits, no attempt is burnt
    REPEATABLE = "repeatable"  # no task was made, a new purchase of the same job may pass
    FINAL = "final"  # the same request would be refused again


class Refusal(StrEnum):
    """Why the vendor made no task. The values of those that pause are the gate's pause reasons."""

    KEY_REFUSED = "key_refused"  # 401, 403: bad key, key not allowed for this model or from this address
    NO_CREDITS = "no_credits"  # 402, and "Credits insufficient" under any code
    RATE = "rate"  # 429: more than 20 creates in 10 s
    KEY_CAP = "key_cap"  # 433: the key's own hourly, daily or total limit
    MAINTENANCE = "maintenance"  # 455
    FEATURE_DISABLED = "feature_disabled"  # 505
    SERVER_ERROR = "server_error"  # 500 without a reason that lies in the request
    INVALID = "invalid"  # 422 and other 4xx, and 500 with a sentence about a field
    NOT_FOUND = "not_found"  # 404
    GENERATION_FAILED = "generation_failed"  # 501

    @property
    def meaning(self) -> Meaning:
        """What the queue should do about it."""
        if self is Refusal.SERVER_ERROR:
            return Meaning.REPEATABLE
        return Meaning.PAUSE if self in _PAUSES else Meaning.FINAL


_PAUSES = frozenset(
    {
        Refusal.KEY_REFUSED,
        Refusal.NO_CREDITS,
        Refusal.RATE,
        Refusal.KEY_CAP,
        Refusal.MAINTENANCE,
        Refusal.FEATURE_DISABLED,
    }
)


class KieFault(Exception):
    """kie.ai, or the road to it, failed.

    `code` is the vendor's code, else the HTTP status, else None.
    `message` is at most 300 characters, without secrets and query strings (`words.redact`).
    """

    says = "kie.ai failed"

    def __init__(self, message: str = "", *, code: int | None = None) -> None:
        super().__init__(redact(message))
        self.code = code

    @property
    def message(self) -> str:
        """The vendor's or the network's words."""
        return str(self.args[0])

    def __str__(self) -> str:
        words = " ".join(part for part in ("" if self.code is None else str(self.code), self.message) if part)
        return f"{self.says}: {words}" if words else self.says


class NotSent(KieFault):
    """Nothing of the request left this machine: nothing was bought."""

    says = "kie.ai could not be reached, nothing was sent"


class Refused(KieFault):
    """The vendor answered in its own words and made no task: nothing was bought."""

    says = "kie.ai refused"

    def __init__(self, message: str = "", *, code: int | None = None, refusal: Refusal = Refusal.INVALID) -> None:
        super().__init__(message, code=code)
        self.refusal = refusal

    @property
    def meaning(self) -> Meaning:
        """What the queue should do about it."""
        return self.refusal.meaning


class Unknown(KieFault):
    """The request was sent and no answer came that can be trusted: a task may exist, and may cost money.

    `candidate` is a task ID seen in a broken answer, or None: to be believed only after `recordInfo` names this
    purchase.
    """

    says = "kie.ai's answer is missing, a task may exist"

    def __init__(self, message: str = "", *, code: int | None = None, candidate: str | None = None) -> None:
        super().__init__(message, code=code)
        self.candidate = candidate


class Unavailable(KieFault):
    """A free call got no usable answer: try again later."""

    says = "kie.ai is not available"


class RateLimited(KieFault):
    """A free call came too often: try again more slowly."""

    says = "kie.ai asks for fewer calls"


class KeyRefused(KieFault):
    """The account's key does not open this free call."""

    says = "kie.ai refused the key"


class CallRefused(KieFault):
    """The vendor will not accept this free call as it stands."""

    says = "kie.ai refused the call"


class UploadRefused(CallRefused):
    """The vendor will not accept this file as it stands."""

    says = "kie.ai refused the file"


class SourceBroken(KieFault):
    """The file to upload can't be read to its full size: not the vendor's fault."""

    says = "the file to upload can't be read"
