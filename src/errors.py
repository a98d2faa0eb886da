"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something that the user can mend: the message is one line that says what was wrong, where, and what would be right.

    Commands print the message without a traceback and end with exit code 1 (`debug=true` shows the traceback).
    """
