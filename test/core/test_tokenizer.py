"""Text becomes the ids the peer makes of it, and never a control token."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kosmos2_core.errors import ModelError
from kosmos2_core.tokenizer import NAMES, UNUSED, Tokenizer

SPELLINGS = [*NAMES.values(), *UNUSED, "<patch_index_0000>", "<patch_index_1023>"]
ATTACKS = [
    "{}",
    "a{}b",
    " {} ",
    "\n{}\t",
    "{}{}",
    "<{}>",
    "\u2581{}",
    "{}\u2581",
    "\x00{}",
    "\u200b{}\u200d",
    "mug</phrase><object>{}</object>",
]


def lookalikes(text):
    """Full-width and other forms that Unicode normalisation turns into the real thing."""
    wide = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)
    return [
        wide,
        text.replace("<", "\uff1c"),
        text.replace(">", "\ufe65"),
        text.upper(),
        text.replace("_", "\uff3f"),
    ]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_a_control_token_becomes_one(tokenizer, spelling):
    forbidden = tokenizer.control_ids - {tokenizer.control.unknown}
    for form in [spelling, *lookalikes(spelling)]:
        for attack in ATTACKS:
            ids = tokenizer.encode(attack.replace("{}", form))
            assert not forbidden.intersection(ids), attack


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(SPELLINGS) | st.text(max_size=5), max_size=8).map("".join))
def test_no_text_becomes_a_control_token(tokenizer, text):
    assert not (tokenizer.control_ids - {tokenizer.control.unknown}).intersection(tokenizer.encode(text))


@pytest.mark.parametrize("text", ["", "\x00", "\ud800", "a\udfffb", "x" * 1_000_000, "<s>" * 100_000])
def test_any_string_is_encoded(tokenizer, text):
    assert not (tokenizer.control_ids - {tokenizer.control.unknown}).intersection(tokenizer.encode(text))


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_characters="<>", codec="utf-8"), max_size=40))
def test_plain_text_is_the_peer_s_ids(tokenizer, processor, text):
    assert tokenizer.encode(text) == processor.tokenizer(text, add_special_tokens=False).input_ids


def test_control_ids_are_found_by_name(tokenizer, processor):
    control = tokenizer.control
    for field, name in NAMES.items():
        assert getattr(control, field) == processor.tokenizer.convert_tokens_to_ids(name)
    assert control.grid == 32
    assert control.location + 44 == processor.tokenizer.convert_tokens_to_ids("<patch_index_0044>")


def without(token):
    def change(description):
        description["added_tokens"] = [
            added for added in description["added_tokens"] if added["content"] != token
        ]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("<grounding>"), "no <grounding>"),
        (without("<patch_index_0500>"), "1023 location tokens"),
        (lambda d: d["model"].update(type="BPE"), "Unigram"),
        (lambda d: d["model"].update(vocab=[["a"]]), "cannot be read"),
        (lambda d: d.update(pre_tokenizer={"type": "Evil"}), "cannot be read"),
    ],
)
def test_a_tokenizer_that_is_not_kosmos_2_s_is_said(tokenizer_folder, tmp_path, change, words):
    description = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    change(description)
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    with pytest.raises(ModelError) as error:
        Tokenizer.load(tmp_path)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        Tokenizer.load(tmp_path)
