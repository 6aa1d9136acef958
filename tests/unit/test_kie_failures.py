"""Which failed generations may pass on repetition."""

from __future__ import annotations

import pytest

from motionq_worker.kie.failures import FAILURES, FailureClass, failure_row

P, T, L = FailureClass.PERMANENT, FailureClass.TRANSIENT, FailureClass.LOOK_AGAIN


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("524", "generate task timeout", L),
        ("524", "", L),
        ("524", "Internal Error, Please try again later.", L),
        ("500", "generate task timeout", L),
        ("400", "No valid characters detected in the video", P),
        ("400", "No complete upper body detected in the video", P),
        ("500", "No complete upper body detected in the image", P),
        ("500", "Image recognition failed, please try again later", P),
        ("500", "The character in the reference image is invalid", P),
        (None, "File type not supported", P),
        ("422", "CONTENT_POLICY_BLOCKED: no", P),
        ("500", "The current content could not be processed", P),
        ("500", "output video may be related to copyright restrictions", P),
        ("422", "Your media file is unavailable, please replace it.", T),
        ("500", "Internal Error, Please try again later.", T),
        ("500", "the server is busy", T),
        ("500", None, T),
        ("501", "", T),
        ("422", "something new", P),
        ("GENERATION_FAILED", "", P),
        (None, None, P),
    ],
)
def test_the_table_of_failures(code: str | None, message: str | None, expected: FailureClass) -> None:
    """Each failure that was seen has its answer; an unknown one is permanent."""
    assert failure_row(code, message).verdict is expected


def test_only_unreachable_inputs_are_uploaded_again() -> None:
    """The vendor's worker could not fetch the file: the next try needs a new address."""
    assert failure_row("422", "Your media file is unavailable, please replace it.").new_upload
    assert not failure_row("500", "Internal Error, Please try again later.").new_upload
    assert not failure_row(None, None).new_upload


def test_every_row_names_its_source() -> None:
    """A rule about money says where it comes from."""
    assert all(row.source for row in FAILURES)
