"""Messages between the command and the processes that do the timed work: one JSON value per line."""

from __future__ import annotations

import json
import os
import sys
from typing import IO, Any


class Channel:
    """Reads messages from one stream and writes them to another."""

    def __init__(self, incoming: IO[str], outgoing: IO[str]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    @classmethod
    def of_this_process(cls) -> Channel:
        """Standard input and output of this process; whatever else prints goes to standard error from now on."""
        sys.stdout.flush()
        outgoing = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        return cls(sys.stdin, outgoing)

    def send(self, message: Any) -> None:
        """Write a message.

        Raises:
            OSError: nobody reads any more.
        """
        self._outgoing.write(json.dumps(message) + "\n")
        self._outgoing.flush()

    def receive(self) -> Any:
        """The next message.

        Raises:
            EOFError: there will be none.
        """
        line = self._incoming.readline()
        if not line.endswith("\n"):
            raise EOFError("the other side has ended")
        return json.loads(line)

    def close(self) -> None:
        """Let the other side know that nothing follows."""
        self._outgoing.close()
