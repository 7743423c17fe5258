"""Reading ahead: the next item is prepared by a thread while the current one is worked on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order; a thread computes the next one meanwhile.

    It pays where that waits for a disk or leaves the interpreter free, as decoding pictures does. What `items` raises
    is raised here in its place.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, iterator, _END)
            yield item  # type: ignore[misc]  # not _END
