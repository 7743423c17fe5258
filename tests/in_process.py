"""An engine that runs every task at once in this process: the code of the commands, without their imports."""

from concurrent.futures import Future
from pathlib import Path

from marsgen.core.errors import InputError
from marsgen.engines.task import Outcome, Task


class InProcess:
    """An `Engine`."""

    slots = width = 1

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []
        """every command, those that only check settings left out"""

    def submit(self, task: Task) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        outs = [command[command.index("--out") + 1] for command in task.commands if "--out" in command]
        resumed = any(Path(out, "config.yaml").exists() for out in outs)
        try:
            for command in task.commands:
                if "--check-settings" not in command:
                    self.ran.append(command)
                call(command)
            future.set_result(Outcome(seconds=1.0, resumed=resumed))
        except InputError as problem:
            future.set_result(Outcome(str(problem)))
        return future

    def close(self) -> None:
        pass


def call(words: tuple[str, ...]) -> None:
    """Run `marsgen ...` or `segmenter ...`; raises what the command raises."""
    import marsgen.cli
    import segmenter.cli

    app = {"marsgen": marsgen.cli, "segmenter": segmenter.cli}[words[0]].app
    app(list(words[1:]), standalone_mode=False)
