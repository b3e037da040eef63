"""How the store fails; `str()` of each error is one clear sentence with the next step.

StoreError
├── CorruptDatabase   the file is damaged, or no database
├── NewerDatabase     written by a later version of Slipstream
├── DiskFull          nothing more fits; what was there before stays
├── StoreClosed       Slipstream has ended, or the private chat was left
└── NotFound          no such conversation or message
"""


class StoreError(Exception):
    """A failure of the store that a person can act on."""


class CorruptDatabase(StoreError):
    pass


class NewerDatabase(StoreError):
    pass


class DiskFull(StoreError):
    pass


class StoreClosed(StoreError):
    pass


class NotFound(StoreError):
    pass
