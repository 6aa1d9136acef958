"""createTask's checks: what the vendor rejects, with its words. It runs before anything is charged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from motionq_ops.sandbox.answers import MESSAGES
from motionq_ops.sandbox.tasks import Order

_CHOICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "kling-2.6/motion-control": {"mode": ("720p", "1080p"), "character_orientation": ("image", "video")},
    "kling-3.0/motion-control": {
        "mode": ("720p", "1080p"),
        "character_orientation": ("image", "video"),
        "background_source": ("input_video", "input_image"),
    },
}
_PROMPT_LIMIT = 2500


class Rejected(Exception):
    """The request is refused; no task, no charge."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code
        self.msg = msg


def order_from(body: Any, models: Mapping[str, Any], code: int) -> Order:
    """Return the order in a createTask body; unknown fields are ignored silently, as measured at the vendor.

    Raises Rejected: 422 for an unknown model, else ``code`` (500 or 422: both are seen for the same texts).
    """
    if not isinstance(body, Mapping):
        raise Rejected(500, MESSAGES[500])
    model = body.get("model")
    if not isinstance(model, str) or model not in models:
        raise Rejected(422, MESSAGES[422])
    if not isinstance(body.get("input"), Mapping):
        raise Rejected(code, "This field is required")
    _check_input(body["input"], model, code)
    order = Order(model, dict(body["input"]), str(body["callBackUrl"]) if body.get("callBackUrl") else None)
    if order.mode not in models[model]:
        raise Rejected(code, "mode is not within the range of allowed options")
    return order


def _check_input(values: Mapping[str, Any], model: str, code: int) -> None:
    for name in ("input_urls", "video_urls"):
        _check_urls(values.get(name), name, code)
    for name, allowed in _CHOICES.get(model, {}).items():
        if values.get(name) is not None and values[name] not in allowed:
            raise Rejected(code, f"{name} is not within the range of allowed options")
    prompt = values.get("prompt")
    if prompt is not None and (not isinstance(prompt, str) or len(prompt) > _PROMPT_LIMIT):
        raise Rejected(code, "The text length cannot exceed the maximum limit")


def _check_urls(urls: Any, name: str, code: int) -> None:
    if not urls:
        raise Rejected(code, f"{name} is required")
    if not isinstance(urls, list) or len(urls) != 1:
        raise Rejected(code, "Value must be within the specified range")
    if not isinstance(urls[0], str) or not _is_web_address(urls[0]):
        raise Rejected(500, MESSAGES[500])


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half a bracket, or a port that is none
        return False
