"""The one error that is told in a line; any other is a defect of the program, and shows as one."""


class InputError(Exception):
    """What was given cannot be used; the text is one line that says why, and how to mend it where that is known."""
