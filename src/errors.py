"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can mend: the message is one line that says what was wrong, where, and what would be right.

    Commands print the message without a traceback and end with exit code 1 (`debug=true` shows the traceback). From a process
    that makes batches it arrives with that process's traceback before it, which is left out.
    """

    def __init__(self, message: str):
        super().__init__(message.rpartition(f"{__name__}.{type(self).__name__}: ")[2].strip())
