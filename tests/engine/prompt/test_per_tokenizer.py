"""What is worked out about a tokenizer is kept as long as that tokenizer, and no longer."""

import gc
import weakref

from engine.prompt.detokenise import TextStream, text_of
from tests.models import byte_tokenizer
from tests.prompts import prompt, turns


def test_a_tokenizer_that_nobody_uses_any_more_is_freed() -> None:
    tokenizer = byte_tokenizer()
    built = prompt(tokenizer, turns("the <|im_end|> an"))  # typed: encoded with a copy of the tokenizer
    assert text_of(tokenizer, built.token_ids)
    assert TextStream(tokenizer, (), ()).push(built.token_ids[0])
    unused = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert unused() is None
