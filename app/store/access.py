"""Who may use the API: whether it is switched on, and its key, of which only a hash is kept."""

import hashlib
import hmac
import logging
import secrets
import threading
from dataclasses import dataclass

from app.store.store import Store
from engine import codec

log = logging.getLogger(__name__)

PREFIX = "sk-slipstream-"
_SETTING = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is kept: SHA-256 of the key, which is random and long, so that no slower hash is needed."""

    switched_on: bool = False
    key_hash: str = ""
    key_end: str = ""  # its last characters, by which people know it


class ApiAccess:
    """Off until switched on; whoever asks must show the key. `forced`: on as long as this process runs.

    Every method may be called from any thread.
    """

    def __init__(self, store: Store, *, forced: bool = False) -> None:
        self._store = store
        self._forced = forced
        self._lock = threading.Lock()
        self._stored = self._read()

    @property
    def switched_on(self) -> bool:
        return self._forced or self._stored.switched_on

    @property
    def forced(self) -> bool:
        """Whether the command line switched it on."""
        return self._forced

    @property
    def key_end(self) -> str:
        """The key's last characters, empty where there is no key yet."""
        return self._stored.key_end

    def switch(self, on: bool) -> None:
        """Switch it on or off for this and later starts; raises `StoreError`."""
        with self._lock:
            self._keep(Stored(switched_on=on, key_hash=self._stored.key_hash, key_end=self._stored.key_end))

    def new_key(self) -> str:
        """Make a key in place of the one before, and return it: it is shown this once. Raises `StoreError`."""
        key = PREFIX + secrets.token_urlsafe(32)
        with self._lock:
            self._keep(Stored(switched_on=self._stored.switched_on, key_hash=_hash(key), key_end=key[-4:]))
        return key

    def admits(self, key: str | None) -> bool:
        """Whether this is the key."""
        kept = self._stored.key_hash
        return bool(key and kept) and hmac.compare_digest(_hash(key or ""), kept)

    def _keep(self, stored: Stored) -> None:
        self._store.set_setting(_SETTING, codec.dump(stored))
        self._stored = stored

    def _read(self) -> Stored:
        data = self._store.get_setting(_SETTING)
        try:
            return codec.load_settings(Stored, data, _SETTING) if data is not None else Stored()
        except ValueError as exc:
            log.warning("The setting %s is damaged (%s): the API is off and needs a new key.", _SETTING, exc)
            return Stored()


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
