"""An answer's messages say what it says, in pixels, with ids that match in 2D and 3D."""

from kosmos2_core.answers import Answer, Entity
from kosmos2_core.boxes import Box
from kosmos2_io.answer_messages import AnswerContext, AnswerMessages, Box3D
from kosmos2_io.message_types import new
from kosmos2_io.messages import Messages

answers = AnswerMessages(Messages(new))
HEAD = answers.make.header(1_700_000_000_000_000_001, "camera_optical_frame")
ASKED = AnswerContext(HEAD, "left", "7", 100, 50, "some model", inference_ns=30_000_000, age_ns=1_500_000_000)
ANSWER = Answer(
    "swap the mug and the egg",
    (
        Entity("the mug", 5, 12, (Box(0.1, 0.2, 0.5, 0.6, 0.9), Box(0, 0, 0.2, 0.2, 0.4)), 0.95),
        Entity("the egg", 17, 24, (), 0.1),
    ),
)


def test_a_grounded_frame_has_pixels_and_the_text_s_spans():
    frame = answers.grounded_frame(ASKED, ANSWER)
    mug, egg = frame.phrases
    assert frame.markdown == "swap [the mug](0.1,0.2,0.5,0.6;0,0,0.2,0.2) and [the egg]()"
    assert [frame.text[detection.span_start : detection.span_end] for detection in frame.phrases] == [
        "the mug",
        "the egg",
    ]
    best = mug.boxes[0]
    assert (best.x_min, best.y_min, best.x_max, best.y_max, best.score) == (10, 10, 50, 30, 0.9)
    assert (frame.frame_age.sec, frame.frame_age.nanosec) == (1, 500_000_000)
    assert (frame.inference_time.sec, frame.inference_time.nanosec) == (0, 30_000_000)
    assert (len(mug.boxes), mug.presence, egg.boxes, egg.presence) == (2, 0.95, [], 0.1)


def test_a_detection_has_the_same_id_in_2d_and_3d_and_an_unknown_place_is_left_out():
    known = Box3D((1, 2, 3), (0.1, 0.2, 0.3), (0, 0, 0, 1))
    flat = answers.detections(ASKED, ANSWER).detections
    solid = answers.detections_3d(HEAD, "7", ANSWER, [[None, known], []]).detections
    assert [detection.id for detection in flat] == ["7/0/0", "7/0/1"]
    assert [detection.id for detection in solid] == ["7/0/1"]
    centre, size = flat[0].bbox.center.position, (flat[0].bbox.size_x, flat[0].bbox.size_y)
    assert ((centre.x, centre.y), size) == ((30, 20), (40, 20))
    result = solid[0].results[0]
    assert (result.hypothesis.class_id, result.hypothesis.score) == ("the mug", 0.4)
    assert result.pose.pose == solid[0].bbox.center
    assert (solid[0].bbox.center.position.y, solid[0].bbox.size.z) == (2, 0.3)
