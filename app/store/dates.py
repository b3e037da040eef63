"""How long deleted conversations stay in the trash."""

from datetime import UTC, datetime, timedelta

from engine import codec

TRASH_DAYS = 30
ANY_DATE = "9999"  # later than all, also those that a clock which was wrong has written


def trash_end() -> str:
    """Conversations that were deleted until then have left the trash; as the database writes dates."""
    return codec.date_text(datetime.now(UTC) - timedelta(days=TRASH_DAYS))
