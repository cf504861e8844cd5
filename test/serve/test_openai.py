"""OpenAI's own client, unmodified, speaks to the server."""

from __future__ import annotations

import base64

import pytest
from live_server import Gate, in_thread, live_server

openai = pytest.importorskip("openai")

MODEL = "tabletop-tiny"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def about(photo, text=""):
    parts = [{"type": "text", "text": text}] if text else []
    url = {"url": f"data:image/jpeg;base64,{photo}"}
    return [{"role": "user", "content": [*parts, {"type": "image_url", "image_url": url}]}]


def test_models_are_listed(client):
    [model] = client.models.list().data
    assert (model.id, model.object) == (MODEL, "model")
    assert client.models.retrieve(MODEL).id == MODEL


def test_a_question_without_an_image_is_answered(client):
    answer = client.chat.completions.create(
        model=MODEL,
        max_tokens=5,
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
    )
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_marked_phrases_are_located_and_the_boxes_come_beside_the_text(client, server, photo):
    answer = client.chat.completions.create(model=MODEL, messages=about(photo, "take [the orange cube]"))
    _, expected = server.post("/v1/locate", {"image": photo, "text": "take [the orange cube]"})
    message = answer.choices[0].message
    assert message.content == expected["markdown"]
    assert message.grounding["phrases"] == expected["phrases"]


def test_an_image_alone_is_captioned(client, server, photo):
    answer = client.chat.completions.create(model=MODEL, messages=about(photo))
    assert answer.choices[0].message.content == server.post("/v1/caption", {"image": photo})[1]["markdown"]


def test_the_name_of_the_model_can_choose_the_task(client, server, photo):
    answer = client.chat.completions.create(
        model=f"{MODEL}:locate", messages=about(photo, "the cube; a ring")
    )
    _, expected = server.post("/v1/locate", {"image": photo, "text": "the cube; a ring"})
    assert answer.choices[0].message.content == expected["markdown"]
    region = client.chat.completions.create(
        model=f"{MODEL}:describe", messages=about(photo), extra_body={"region": [0.7, 0.35, 0.95, 0.65]}
    )
    _, expected = server.post("/v1/describe", {"image": photo, "region": [0.7, 0.35, 0.95, 0.65]})
    assert region.choices[0].message.content == expected["markdown"]


def test_a_stream_gives_the_text_piece_by_piece_and_the_boxes_at_the_end(client, photo):
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=about(photo), stream=True, stream_options={"include_usage": True}
        )
    )
    whole = client.chat.completions.create(model=MODEL, messages=about(photo)).choices[0].message
    *text_chunks, last, usage = chunks
    pieces = [chunk.choices[0].delta.content for chunk in text_chunks]
    grounding = last.choices[0].delta.grounding
    assert len(pieces) > 3
    assert [phrase["phrase"] for phrase in grounding["phrases"]] == [
        phrase["phrase"] for phrase in whole.grounding["phrases"]
    ]
    words = "".join(piece.partition("(")[0] if "](" in piece else piece for piece in pieces)
    assert words.replace("[", "").replace("]", "") == whole.grounding["text"]
    assert last.choices[0].finish_reason == "stop"
    assert usage.usage.completion_tokens > 0


def test_a_dialogue_goes_on_about_the_newest_image(client, server, photo):
    messages = [
        *about(photo, "What is left of the cube?"),
        {"role": "assistant", "content": "the plate"},
        {"role": "user", "content": "what colour is it?"},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages)
    turns = [{"question": "What is left of the cube?", "answer": "the plate"}]
    body = {"image": photo, "question": "what colour is it?", "turns": turns, "ground": True}
    assert answer.choices[0].message.content == server.post("/v1/chat", body)[1]["markdown"]


def test_errors_are_the_client_s_own(client, photo):
    with pytest.raises(openai.NotFoundError, match="no model"):
        client.chat.completions.create(model="gpt-4", messages=about(photo))
    url = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    with pytest.raises(openai.BadRequestError, match="data URL"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [url]}])
    with pytest.raises(openai.BadRequestError, match="one answer"):
        client.chat.completions.create(model=MODEL, messages=about(photo), n=2)
    broken = base64.b64encode(b"no image").decode()
    with pytest.raises(openai.BadRequestError, match="not an image"):
        client.chat.completions.create(model=MODEL, messages=about(broken), stream=True)


def test_a_wrong_key_and_a_full_queue_are_the_client_s_errors(engine, photo, monkeypatch):
    with live_server(engine, token="the-right-token", max_queue=1) as server:
        base_url = f"{server.url}/v1"
        wrong = openai.OpenAI(base_url=base_url, api_key="a-wrong-token", max_retries=0)
        right = openai.OpenAI(base_url=base_url, api_key="the-right-token", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            wrong.models.list()
        gate = Gate(server, monkeypatch)
        ask = right.chat.completions.create
        first, answers = in_thread(lambda: ask(model=MODEL, messages=about(photo, "[the cube]")))
        gate.until_added(1)
        with pytest.raises(openai.RateLimitError):
            ask(model=MODEL, messages=about(photo, "[the cube]"))
        gate.opened.set()
        first.join()
        assert answers[0].choices[0].message.content
        wrong.close()
        right.close()
