"""The JSON of requests and answers. The descriptions are those of the API page; docs/serve.md shows examples.

`locate`, `caption`, `describe`, `ask` and `chat` have the fields of `ImageQuery` in common, and all of them
are answered by an `AnswerBody`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
FourNumbers = Annotated[list[float], Field(min_length=4, max_length=4)]


class RequestBody(BaseModel):
    """A request. Unknown fields are refused: they are most likely misspelt."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class ImageQuery(RequestBody):
    """The fields that all requests about an image have."""

    model: str | None = Field(None, description="Name of the model, from /v1/models; null: the first.")
    image: str = Field(
        description="The Base64 of a PNG, JPEG or WebP file, with or without `data:image/png;base64,`."
    )
    stream: bool = Field(
        False, description="Answer with server-sent events: `token` with the answer so far, then `answer`."
    )
    timeout_s: float | None = Field(
        None, gt=0, description="How long the client waits, in seconds; null: the server's default."
    )


class GeneratedText(ImageQuery):
    """The fields of all requests whose answer is a generated text."""

    max_tokens: int = Field(128, ge=1, description="Longest answer, in tokens.")
    temperature: float = Field(
        0.0, ge=0, le=100, description="Temperature of the sampling; 0: always the likeliest token."
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Sample from the likeliest tokens of this probability.")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="Seed of the sampling; null: another answer each time."
    )
    scores: bool = Field(True, description="Compute the scores of the boxes in the answer.")


class LocateBody(ImageQuery):
    """Find the phrases of a text in the image."""

    text: str = Field(
        description="A sentence with marked phrases, `put [the mug] into [the bowl]`; or a phrase, several"
        " separated by `;`, or a command to a robot."
    )
    max_boxes: int = Field(1, ge=1, le=100, description="Most boxes of each phrase, best first.")
    min_score: Probability = Field(0.0, description="Boxes with a lower score are left out.")
    min_presence: Probability | None = Field(
        None, description="A phrase with a lower presence gets no box; null: the model's own threshold."
    )
    zoom: bool = Field(False, description="Look again at a crop around each first box.")
    max_corners: int = Field(16, ge=1, le=64, description="First corners that are tried; 1 is fastest.")
    heatmap: bool = Field(
        False, description="Give for each phrase the probability of each cell of the image to be in its box."
    )


class CaptionBody(GeneratedText):
    """Say what is in the image."""

    detailed: bool = Field(False, description="A paragraph instead of a sentence.")
    ground: bool = Field(True, description="Mark the objects in the answer and give their boxes.")


class DescribeBody(GeneratedText):
    """Say what is in a box."""

    region: FourNumbers = Field(
        description="The box: x1, y1, x2, y2 as fractions of the width and height, or in pixels if a number"
        " is above 1."
    )
    wording: str | None = Field(
        None, description="The prompt, whose only mark gets the box; null: `[It] is`."
    )


class AskBody(GeneratedText):
    """Answer a question about the image."""

    question: str = Field(description="The question; it can mark words, `what is [this]?`.")
    region: FourNumbers | None = Field(
        None,
        description="A box that the question is about, as in DescribeBody. It belongs to the first marked"
        " words, else to the first `it`, `this` or `that`.",
    )
    ground: bool = Field(False, description="Mark the objects in the answer and give their boxes.")


class ChatTurn(RequestBody):
    """A question and its answer."""

    question: str
    answer: str = Field(description="Grounded Markdown or plain text.")


class ChatBody(GeneratedText):
    """Answer the next question of a dialogue."""

    image: str | None = Field(  # type: ignore[assignment]
        None, description="The image as in other requests; null: the dialogue is about none."
    )
    question: str = Field(description="The next question.")
    turns: list[ChatTurn] = Field([], description="The turns before, the oldest first.")
    ground: bool = Field(False, description="Mark the objects in the answer and give their boxes.")


class AnswerBox(BaseModel):
    """A box of a phrase."""

    box_px: FourNumbers = Field(description="x1, y1, x2, y2 in pixels of the image.")
    box_unit: FourNumbers = Field(description="The same as fractions of the width and height.")
    score: float | None = Field(description="Probability that the box is right; null: not computed.")
    cells: list[int] = Field(description="The cells of its two corners: the model's location tokens.")


class AnswerPhrase(BaseModel):
    """A phrase of the answer's text."""

    phrase: str
    start: int = Field(description="Offset of the phrase in the text, in Unicode code points.")
    end: int = Field(description="Offset after its last character.")
    presence: float | None = Field(
        description="Probability that the object is in the image; null: not computed."
    )
    boxes: list[AnswerBox] = Field(description="Best first; empty: looked for and not found.")
    heatmap: list[list[float]] | None = Field(
        None,
        description="Rows of the probabilities of each cell to be in the phrase's box, if the request asked.",
    )


class AnswerOption(BaseModel):
    """An option of a request that compares options; the server has none so far."""

    text: str
    log_probability: float
    mean: float
    tokens: int


class AnswerTimings(BaseModel):
    """The times of an answer."""

    queue_s: float = Field(description="Time before a batch took the request.")
    model_s: float = Field(description="Time from then to the answer.")
    total_s: float = Field(description="Time from the end of the request's body to the answer.")
    batch: int = Field(description="Number of requests in that batch.")
    image_cached: bool = Field(description="Whether the image's encoding was known.")


class AnswerBody(BaseModel):
    """The answer to a request."""

    model: str
    width: int = Field(description="Width of the image in pixels; 0: there is no image.")
    height: int = Field(description="Height of the image in pixels; 0: there is no image.")
    text: str = Field(description="The text without marks: that of the request, or a generated one.")
    markdown: str = Field(description="The text as grounded Markdown; `[the mug]()` was not found.")
    phrases: list[AnswerPhrase]
    options: list[AnswerOption]
    dropped: int = Field(description="Malformed groups that the model generated and that were left out.")
    finished: bool = Field(description="False if a limit of tokens or time cut the answer off.")
    calibrated: bool = Field(description="Whether the scores went through the checkpoint's calibration.")
    presence_evidence: list[str] = Field(
        description="The evidence that `presence` follows from: some of object, question, phrase."
    )
    min_presence: float = Field(description="The presence below which a phrase got no box.")
    timings: AnswerTimings | None = Field(None, description="Null in the answers so far of a stream.")


class RecordItem(RequestBody):
    """A task on the image, with its answer; docs/data.md describes the format."""

    task: Literal["locate", "caption", "describe", "ask", "text"] = "locate"
    text: str = Field(
        description="Grounded Markdown: `put [the mug](0.1,0.2,0.3,0.4) away`; `[the mug]()` is absent."
    )
    question: str | None = Field(None, description="The question of `ask`.")
    detailed: bool = Field(False, description="A `caption` in detail.")
    kind: str = Field("", description="A name; evaluation reports each kind separately.")


class RecordBody(RequestBody):
    """Save an image and what a model shall learn about it."""

    image: str = Field(description="The image, as in ImageQuery.")
    items: list[RecordItem] = Field(min_length=1, max_length=100)


class RecordSaved(BaseModel):
    """A record that was saved."""

    image: str = Field(description="Path of the image in the folder of records.")
    file: str = Field(description="The file of records.")
    count: int = Field(description="Number of records that this server has saved.")


class ServedModel(BaseModel):
    """A model that the server has."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "kosmos2"
    device: str
    precision: str
    calibrated: bool
    min_presence: float
    grid: int = Field(description="Cells along a side of the image.")


class ServedModels(BaseModel):
    """The models that the server has; the first answers requests that name none."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


class ExampleScene(BaseModel):
    """An image that comes with the server, with texts to try."""

    name: str
    title: str
    url: str
    width: int
    height: int
    locate: list[str]
    ask: list[str]


class ServerInfo(BaseModel):
    """The features and limits of the server, for the page."""

    version: str
    models: list[str]
    records: bool = Field(description="Whether /v1/records saves records.")
    examples: list[ExampleScene]
    max_body_bytes: int
    max_text_bytes: int
    max_phrases: int
    max_tokens: int
    timeout_s: float
    max_timeout_s: float


# The part of OpenAI's API that is understood. Fields that are not named are ignored, as clients send many.


class OpenAiRequest(BaseModel):
    """A part of what OpenAI's clients send: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class ImageUrl(OpenAiRequest):
    """An image as a data URL."""

    url: str


class ContentPart(OpenAiRequest):
    """A part of a message: a text or an image."""

    type: str
    text: str = ""
    image_url: ImageUrl | str | None = None


class ChatMessage(OpenAiRequest):
    """A message of a dialogue."""

    role: str
    content: str | list[ContentPart] | None = None


class StreamOptions(OpenAiRequest):
    """Options of a stream."""

    include_usage: bool | None = None


class CompletionBody(OpenAiRequest):
    """A request to /v1/chat/completions."""

    model: str = Field(description="Name of the model, from /v1/models; `NAME:locate` chooses a task.")
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    n: int | None = Field(None, description="Only 1 is possible.")
    logprobs: bool | None = Field(None, description="Not possible.")
    task: Literal["chat", "locate", "caption", "describe", "ask"] | None = Field(
        None,
        description="An addition to OpenAI's API. Null: `locate` for a text with marks such as `[the mug]`,"
        " `caption` for an image without text, else `chat`.",
    )
    region: FourNumbers | None = Field(None, description="An addition: a box, for `describe` and `ask`.")
    ground: bool = Field(True, description="An addition: mark the objects in the answer.")
    max_boxes: int = Field(1, ge=1, le=100, description="An addition, for `locate`.")
    min_presence: Probability | None = Field(None, description="An addition, for `locate`.")


class CompletionMessage(BaseModel):
    """The answer's message."""

    role: Literal["assistant"] = "assistant"
    content: str = Field(description="Grounded Markdown.")
    grounding: dict[str, Any] = Field(description="The same as an AnswerBody.")


class CompletionChoice(BaseModel):
    """The only choice."""

    index: int = 0
    message: CompletionMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class CompletionUsage(BaseModel):
    """Numbers of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class ErrorDetail(BaseModel):
    """The reason why a request is refused."""

    message: str = Field(description="One sentence for a person.")
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error, in the shape that OpenAI's clients know."""

    error: ErrorDetail
