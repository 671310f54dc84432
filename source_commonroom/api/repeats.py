"""Repeats: warnings that each page of a list may cause, logged once a stream, with a summary at its end."""

import logging
import threading
from collections import Counter

logger = logging.getLogger("airbyte")


class Repeats:
    """The warnings of one stream that every page may cause; any thread may warn.

    Why: a million activities with a key that repeats would put 5,000 lines into the log.

    :param hides_personal_data: whether warnings may not name what may be personal
    """

    def __init__(self, stream: str, *, hides_personal_data: bool = False) -> None:
        self._stream = stream
        self.hides_personal_data = hides_personal_data
        self._lock = threading.Lock()
        self._pages: Counter[str] = Counter()
        self._more: Counter[str] = Counter()

    def warn(self, what: str, number: int, message: str) -> None:
        """Warn of what a page holds, if it is the first one.

        :param what: names the kind, as a summary goes on with it: "rows that are empty or no objects"
        :param number: how many of them the page holds
        :param message: what is said of the first page, without the stream's name
        """
        with self._lock:
            self._pages[what] += 1
            first = self._pages[what] == 1
            if not first:
                self._more[what] += number
        if first:
            logger.warning("%s: %s", self._stream, message)

    def summarize(self) -> None:
        """Log how many more there were than on the first page, if any, and begin anew."""
        with self._lock:
            pages, more = self._pages, self._more
            self._pages, self._more = Counter(), Counter()
        for what, number in sorted(more.items()):
            logger.warning(
                "%s: %d more pages hold %s, %d of them. The first one was reported above.",
                self._stream,
                pages[what] - 1,
                what,
                number,
            )
