"""Durations as text."""


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as ``2 h 5 min``."""
    minutes, remaining_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {remaining_seconds} s" if minutes else f"{remaining_seconds} s"
