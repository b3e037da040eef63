"""Everything that can go wrong in the world, as one tree.

    EngineError
    ├── ModelNotFound        no such folder or Hub repository, or not on this machine while offline
    ├── ModelGated           the Hub asks for a licence click or a token
    ├── BrokenModel          a folder that is no model: config, weights or tokeniser missing or damaged
    ├── UnsupportedModel     pickled weights, remote code, an architecture that cannot be cropped
    ├── UnusablePack         a drafter pack that is damaged, of another model, or that this target cannot use
    │   └── OtherTraining    its folder holds a training with other settings
    ├── UnsupportedDevice    a device or quantisation that this machine does not have
    ├── NetworkUnavailable   the Hub cannot be reached
    ├── NotEnoughMemory      the estimate says it does not fit, or the device ran out
    ├── NotEnoughDisk        the download does not fit
    ├── DownloadCancelled    the user ended a download or a load; what has arrived is kept
    ├── ContextOverflow      one message alone is longer than the context
    ├── NoModelLoaded        a request came before a model
    ├── NotCertified         a comparison was asked for before the model's certificate came
    ├── EngineBusy           one answer at a time
    ├── EngineCrashed        the engine's process ended without being asked to
    ├── NotConfirmed         nothing goes to another machine before a person has said that it may
    ├── KeyRefused           a server wants a key, or another one
    ├── ServerUnavailable    a server cannot be reached, or cannot answer now
    └── ServerLost           the connection ended in the middle of an answer

Bad arguments are `ValueError`. A message says what happened, the numbers, and what to do next; third
parties' exceptions are translated once, at the boundary, `from exc`.
"""


class EngineError(Exception):
    """A failure a person can act on; `str()` of it is one clear sentence with the next step."""

    @property
    def type(self) -> str:
        return self.__class__.__name__


class ModelNotFound(EngineError):
    pass


class ModelGated(EngineError):
    pass


class BrokenModel(EngineError):
    pass


class UnsupportedModel(EngineError):
    pass


class UnusablePack(EngineError):
    pass


class OtherTraining(UnusablePack):
    pass


class UnsupportedDevice(EngineError):
    pass


class NetworkUnavailable(EngineError):
    pass


class NotEnoughMemory(EngineError):
    pass


class NotEnoughDisk(EngineError):
    pass


class DownloadCancelled(EngineError):
    pass


class ContextOverflow(EngineError):
    pass


class NoModelLoaded(EngineError):
    pass


class NotCertified(EngineError):
    pass


class EngineBusy(EngineError):
    pass


class EngineCrashed(EngineError):
    pass


class NotConfirmed(EngineError):
    pass


class KeyRefused(EngineError):
    pass


class ServerUnavailable(EngineError):
    pass


class ServerLost(EngineError):
    pass


def from_type(type_name: str, message: str) -> Exception:
    """Rebuild an exception that crossed a process boundary as (type name, sentence).

    >>> from_type("OtherTraining", "It holds another training: remove it.")
    OtherTraining('It holds another training: remove it.')
    """
    if type_name == "ValueError":
        return ValueError(message)
    for cls in EngineError.__subclasses__():
        for each in (cls, *cls.__subclasses__()):
            if each.__name__ == type_name:
                return each(message)
    return EngineError(message)
