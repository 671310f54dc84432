"""Page sizes: smaller pages if the API can't serve large ones in time, and large ones again later."""

import threading

# So many rows a page has at least.
_SMALLEST = 25
# After so many pages of one size the next larger one is tried; after twice as many each time that this fails.
_PAGES_OF_ONE_SIZE = 20


def is_smallest(size: int) -> bool:
    """Tell whether a page of this size is as small as can be; one of a single row is for a count."""
    return size >= _SMALLEST and not smaller_sizes(size)


def smaller_sizes(size: int) -> list[int]:
    """Return the sizes to try after one, each half of the one before."""
    return [size // 2**times for times in range(1, 8) if size // 2**times >= _SMALLEST]


class PageSizes:
    """How many rows the pages of a stream have; any thread may ask, and report what was served.

    A page of 200 contacts with all that they can have may take the API longer than a gateway waits. What it serves then
    is asked for from there on, and by walks that begin later.
    Pinned by unit_tests/test_page_sizes.py.

    :param full: how many rows a page has usually
    """

    def __init__(self, full: int) -> None:
        self._lock = threading.Lock()
        self._full = full
        self._pages = 0
        self._trial = _PAGES_OF_ONE_SIZE
        self._tries_larger = False
        self.are_cursors_free = False
        """Whether a cursor names the same place for pages of any size; else it isn't good for larger ones."""
        self.now = full
        """How many rows to ask for when a walk begins."""
        self._unserved: set[bool] = set()

    def may_help(self, *, counted: bool) -> bool:
        """Tell whether smaller pages may help: not if even the smallest one wasn't served.

        :param counted: whether the page carries a count: that may be what takes so long
        """
        return counted not in self._unserved

    def after(self, size: int) -> int:
        """Return how many rows the next page of a walk may have, whose pages had so many."""
        return self.now if self.are_cursors_free else size

    def served(self, size: int) -> None:
        """Note that the API served a page as large as it was asked for."""
        if size != self.now or size == self._full:
            # The second is so on nearly all pages.
            return
        with self._lock:
            self._pages += 1
            if self._pages >= self._trial:
                self.now, self._pages, self._tries_larger = min(2 * self.now, self._full), 0, True

    def shrink_to(self, size: int) -> None:
        """Note that the API serves pages of this size, and no larger ones."""
        with self._lock:
            if self._tries_larger:
                self._trial, self._tries_larger = 2 * self._trial, False
            self.now, self._pages = min(self.now, size), 0
            self._unserved.clear()

    def note_unserved(self, *, counted: bool) -> None:
        """Note that not even the smallest page was served."""
        self._unserved.add(counted)
