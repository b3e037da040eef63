"""What crosses the pipe is what was sent."""

import json

from engine import codec
from engine.events import Likelihood, Origins, Round, TokenLikelihood
from engine.metrics import Loop
from engine.process import wire


def test_a_round_crosses_the_pipe_as_every_event_does() -> None:
    """It is written by a way of its own, which is faster."""
    origins = Origins(lengths=(3, 1), chances=(0.91,), places=("chat 7",), refused=" x", refused_chance=None)
    for likelihoods in ((), (TokenLikelihood(Likelihood(1, "a", -0.5), ()),)):
        for told, loop in ((origins, None), (None, Loop(start=3, period=2))):
            event = Round(
                index=4,
                draft_size=2,
                accepted=1,
                token_ids=(5, 6),
                sources=("memory", "ngram-3"),
                decode_s=0.25,
                plain_round_s=None,
                loop=loop,
                likelihoods=likelihoods,
                origins=told,
                undrafted="resting",
            )
            line = wire.encode(wire.Reply(id=1, kind="event", event=event))
            assert wire.decode_reply(line).event == event
            assert json.loads(line)["event"]["values"] == codec.dump(event)
