"""What went wrong, in one sentence for the person who can mend it."""


class Kosmos2Error(Exception):
    """Base of all errors this project raises on purpose.

    Its text is one sentence that names what was wrong and what to do. Only the worker, the node's
    callbacks and the command line catch it.
    """


class InputError(Kosmos2Error):
    """What a user gave cannot be used: an image, a box, a text, a number."""


class ModelError(Kosmos2Error):
    """A checkpoint cannot be used."""


class TooLongError(InputError):
    """A prompt and its answer have more tokens than the model."""
