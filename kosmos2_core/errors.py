"""Errors that are raised on purpose: each text is one sentence for the person who can act on it."""


class Kosmos2Error(Exception):
    """Base of all errors that this project raises on purpose.

    The text is one sentence that names what was wrong and what to do. Only callbacks of the node, its
    inference thread and the command line catch it.
    """


class InputError(Kosmos2Error):
    """An image, a box, a text or a number that a user gave cannot be used."""


class DiskError(Kosmos2Error):
    """A file cannot be written, because the disk is full or fails. The user's input is not to blame."""


class ModelError(Kosmos2Error):
    """A checkpoint cannot be used."""


class TooLongError(InputError):
    """A prompt and its answer together have more tokens than the model has positions."""
