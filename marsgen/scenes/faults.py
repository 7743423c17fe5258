"""Faults: everything that is wrong with a data set, in one answer instead of one an attempt."""

from marsgen.core.errors import DataError

MOST_SHOWN = 8


class Faults:
    """Collects sentences; one is raised as it is, several as a numbered list."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def add(self, sentence: object) -> None:
        self.sentences.append(str(sentence))

    def raise_any(self, where: object) -> None:
        """Raise DataError naming what was added, if anything; `where` is the data set."""
        if len(self.sentences) == 1:
            raise DataError(self.sentences[0])
        if self.sentences:
            shown = [f"({number}) {text}" for number, text in enumerate(self.sentences[:MOST_SHOWN], start=1)]
            rest = len(self.sentences) - MOST_SHOWN
            more = f"; and {rest} more of this kind" if rest > 0 else ""
            raise DataError(f"{where}: {len(self.sentences)} faults: {'; '.join(shown)}{more}")
