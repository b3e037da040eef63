"""All boundaries."""

from tests.fuzz.asking import ASKED
from tests.fuzz.files import FILES
from tests.fuzz.shown import DRAWN
from tests.fuzz.streams import ANSWERED

BOUNDARIES = (*FILES, *ASKED, *ANSWERED, *DRAWN)
