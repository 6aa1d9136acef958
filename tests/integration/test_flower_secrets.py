"""Flower as a process: what it may not write down, even when it is asked to write down everything."""

from __future__ import annotations

from pathlib import Path

from motionq_ops.redis_server import free_port
from support import eventually
from support.shared import nursery

_SECRETS = {
    "FLOWER_BASIC_AUTH": "me:swordfish",
    "FLOWER_AUTH": ".*@example[.]com",
    "FLOWER_AUTH_PROVIDER": "flower.views.auth.GoogleAuth2LoginHandler",
    "FLOWER_OAUTH2_KEY": "plainwordsofakey",
    "FLOWER_OAUTH2_SECRET": "plainwordsofasecret",
    "FLOWER_OAUTH2_REDIRECT_URI": "https://flower.example/login",
    "FLOWER_COOKIE_SECRET": "plainwordsofacookie",
}
_HIDDEN = ("swordfish", "plainwordsofakey", "plainwordsofasecret", "plainwordsofacookie")


def test_flowers_debug_log_hides_logins_and_keys(tmp_path: Path, redis_url: str, namespace: str) -> None:
    """With `--debug` Flower lists its options: secrets made of plain words are hidden, too, and the rest is shown."""
    environment = {"REDIS_URL": redis_url, "MOTIONQ_NAMESPACE": namespace, "MOTIONQ_DATA_DIR": str(tmp_path)}
    command = ["celery", "-A", "motionq_worker.app", "flower", "--debug", f"--port={free_port()}"]
    log = tmp_path / "flower.log"
    log.touch()
    process = nursery().start(command, environment | _SECRETS, log)
    try:
        eventually(lambda: "'cookie_secret':" in log.read_text(encoding="utf-8"), timeout=30)
    finally:
        process.kill()

    said = log.read_text(encoding="utf-8")
    assert "'redirect_uri': 'https://flower.example/login'" in said
    assert [secret for secret in _HIDDEN if secret in said] == []
