"""The node `grounding`: images and a command in, boxes that a planner can use out.

States: unconfigured -> configure (load the model, warm it up) -> inactive -> activate (subscribe, start the
inference thread) -> active -> deactivate -> inactive -> cleanup (free the memory) -> unconfigured.

A frame's way: inputs.py stores it in frames.py. The thread of inference.py grounds it and publishes boxes in
pixels through outputs.py. The thread of slow_outputs.py publishes pictures, and boxes in space, which
localization_3d.py places. A service request's way: services.py puts a query into the queue of work.py, which
the thread of inference.py answers. This file holds the lifecycle, the parameters and the wiring.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diagnostic_msgs.msg import DiagnosticArray
from kosmos2.action import Converse
from kosmos2.srv import Ask, Describe, Locate
from rcl_interfaces.msg import SetParametersResult
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from kosmos2_core.box_search import finish
from kosmos2_core.engine import Engine
from kosmos2_core.errors import InputError, Kosmos2Error, ModelError
from kosmos2_core.requests import Locate as LocateRequest
from kosmos2_io.images import to_rgb
from kosmos2_io.stamps import ns_of_s
from kosmos2_ros.diagnostics import Diagnostics, ModelState, SilenceLog, WeightWatch
from kosmos2_ros.errors import Code, RequestError, callback_errors, log_error, log_failure
from kosmos2_ros.frames import FrameStore
from kosmos2_ros.inference import GroundingModel, InferenceLimits, InferenceThread
from kosmos2_ros.inputs import CameraInput
from kosmos2_ros.localization_3d import Localizer3D, Transforms, make_transforms
from kosmos2_ros.messages import ROS, cv_bridge_fallback
from kosmos2_ros.outputs import CameraOutput, ResultMessages
from kosmos2_ros.parameters import (
    GroundingParameters,
    changed_fixed,
    declare_parameters,
    fixed_reason,
    parameters_of,
    with_default_types,
)
from kosmos2_ros.rclpy_guards import answer_always
from kosmos2_ros.services import ActiveSession, DialogueAction, Services
from kosmos2_ros.slow_outputs import SlowOutputs
from kosmos2_ros.work import CurrentCommand, InferenceResult
from kosmos2_serve.client import RemoteEngine
from kosmos2_serve.wire import is_server

NAME = "grounding"
STOP_TIMEOUT_S = 1.0  # for the inference thread to end
DIAGNOSTICS_PERIOD_S = 0.5
COMMAND_DEPTH = 1  # of the command topic: only the newest command is of use
SERVICE_QOS = QoSProfile(depth=1000)  # with ROS's default depth of 10, most of many calls at once are lost
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE

KEPT_PER_CAMERA = 2  # images: the newest, and that of the batch that is being computed

Loader = Callable[[GroundingParameters], GroundingModel]


def load_engine(parameters: GroundingParameters) -> GroundingModel:
    """Load the checkpoint that the parameters name, or connect to the server that they name.

    An engine keeps the encodings of the newest images, so that a request about an image that the stream has
    just encoded does not encode it again.
    """
    if is_server(parameters.model):
        return RemoteEngine(parameters.model)
    engine = Engine.load(
        parameters.model,
        parameters.device,
        parameters.dtype,
        parameters.revision or None,
        quantize=parameters.quantize,
    )
    engine.keep_images = KEPT_PER_CAMERA * len(parameters.cameras)
    return engine


def _device_of(model: GroundingModel | None) -> str:
    """Return where the model runs and its precision, such as `cpu, int8 (onednn)`."""
    return f"{model.device}, {model.precision}" if model else "none"


class GroundingNode(LifecycleNode):
    """The lifecycle node.

    Args:
        load: Loads the model when the node is configured; tests give a stand-in.
        node_options: Passed on to rclpy's node.
    """

    def __init__(self, load: Loader = load_engine, **node_options: Any) -> None:
        super().__init__(NAME, **node_options)
        answer_always(self)
        self._load = load
        self.parameters = declare_parameters(self)
        self._model: GroundingModel | None = None
        self._load_error = ""
        self._limit_requests()
        self._weights = WeightWatch(None)
        self._warm_up_s = 0.0
        self._unfinished: InferenceThread | None = None  # of an earlier activation, while its model computes
        self._inputs: dict[str, CameraInput] = {}
        self._outputs: dict[str, CameraOutput] = {}
        self._frames = FrameStore(())
        self._session: ActiveSession | None = None
        self._transforms: Transforms | None = None
        self._state = "unconfigured"
        self._loading = False
        self._command_ids = itertools.count(1)
        self._transition_lock = threading.Lock()
        self._parameter_lock = threading.Lock()  # parameters change by a service and by the command topic
        self._fallback = cv_bridge_fallback()
        self.add_pre_set_parameters_callback(with_default_types)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._create_services()
        self._create_diagnostics()

    # Services and diagnostics, which exist in every state.

    def _create_services(self) -> None:
        """Create the services, the action and the command topic; all of them answer in every state."""
        group = ReentrantCallbackGroup()
        services = Services(lambda: self.parameters, self._require_session, self.get_logger(), self._fallback)
        for service_type, name, callback in (
            (Locate, "~/locate", services.locate),
            (Describe, "~/describe", services.describe),
            (Ask, "~/ask", services.ask),
        ):
            self.create_service(service_type, name, callback, qos_profile=SERVICE_QOS, callback_group=group)
        self._converse = ActionServer(
            self,
            Converse,
            "~/converse",
            DialogueAction(services).execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=group,
        )
        on_command = callback_errors(self.get_logger(), self._on_command)
        self._command_subscription = self.create_subscription(
            String, "~/command", on_command, COMMAND_DEPTH, callback_group=MutuallyExclusiveCallbackGroup()
        )

    def _create_diagnostics(self) -> None:
        self._diagnostics = Diagnostics(self.get_fully_qualified_name())
        self._silence = SilenceLog(self.get_logger())
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time can stand still
        publish = callback_errors(self.get_logger(), self._publish_diagnostics)
        self.create_timer(
            DIAGNOSTICS_PERIOD_S, lambda: publish(None), MutuallyExclusiveCallbackGroup(), steady
        )
        backwards = JumpThreshold(
            min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jump_handle = self.get_clock().create_jump_callback(
            backwards, post_callback=self._forget_transforms
        )

    # Transitions. rclpy swallows an exception in one: here it is logged, and the transition fails.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model."""
        return self._transition(self._configure, "inactive", self._destroy_cameras_and_model)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the inference thread."""
        return self._transition(self._activate, "active", self._deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop the inference thread."""
        return self._transition(self._deactivate, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model's memory."""
        return self._transition(self._clean_up, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End from any state."""
        return self._transition(self.close, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to the state unconfigured."""
        return self._transition(self.close, "unconfigured")

    def _transition(
        self, change: Callable[[], None], state: str, undo: Callable[[], None] = lambda: None
    ) -> TransitionCallbackReturn:
        """Run a transition.

        Args:
            change: The work.
            state: The state after it.
            undo: Undoes a change that failed half-way.
        """
        with self._transition_lock:
            try:
                change()
            except Exception as error:  # the edge of the node
                log_failure(self.get_logger(), f"the node stays {self._state}", error)
                undo()
                return FAILURE
            self._state = state
            self.get_logger().info(self._topics_line() if state == "active" else state)
            return SUCCESS

    def _configure(self) -> None:
        parameters = self.parameters
        self._require_ended()
        self._load_model(parameters)
        self._transforms = make_transforms(self)
        self._transforms.listen()
        self._frames = FrameStore(parameters.cameras)
        compressed = parameters.image_transport == "compressed"
        for name in parameters.cameras:
            self._inputs[name] = CameraInput(self, name, compressed, self._frames, self._fallback)
            output = self._outputs[name] = CameraOutput(self, name)
            output.advertise()

    def _load_model(self, parameters: GroundingParameters) -> None:
        self.get_logger().info(f"loading {parameters.model} ...")
        self._loading = True
        try:
            self._model = self._warmed_up(self._load(parameters))
        except Exception as error:
            known = isinstance(error, Kosmos2Error)
            reason = str(error) if known else f"{type(error).__name__}, see the node's log."
            self._load_error = f"not loaded: {reason}"
            raise
        finally:
            self._loading = False
        self._load_error = ""
        self._limit_requests()
        self._weights = WeightWatch(getattr(self._model, "weights", None))
        self.get_logger().info(f"loaded on {_device_of(self._model)}")

    def _limit_requests(self) -> None:
        """Let a request to a server, with all its tries, take no longer than a frame may be old."""
        if isinstance(self._model, RemoteEngine):
            self._model.timeout_s = self.parameters.max_frame_age_s or self.parameters.query_timeout_s

    def _warmed_up(self, model: GroundingModel) -> GroundingModel:
        """Answer a first request, boxes included, so that the first frame is answered like any other."""
        began_s = time.monotonic()
        request = LocateRequest("the object", min_presence=0.0)
        finish(model.locate_in_parts([([np.zeros((64, 64, 3), np.uint8)], request)]))
        self._warm_up_s = time.monotonic() - began_s
        return model

    def _require_ended(self) -> None:
        """Refuse to go on while an inference thread that was told to stop still uses its model.

        Raises:
            ModelError: A second thread would use the same model, or a second model would be loaded.
        """
        if problem := self._unfinished_work():
            raise ModelError(problem)
        self._unfinished = None

    def _unfinished_work(self) -> str:
        """Return a sentence if an inference thread that was told to stop still uses its model, else ""."""
        if self._unfinished is None or not self._unfinished.alive:
            return ""
        return (
            f"the model still computes what it began before the node was deactivated, for"
            f" {self._unfinished.busy_s:.0f} s: wait until it ends, or restart the node."
        )

    def _activate(self) -> None:
        assert self._model is not None
        assert self._transforms is not None
        self._require_ended()
        with self._parameter_lock:  # or a change that arrives now would be lost
            session = self._make_session(self._model, self._transforms)
        session.slow_outputs.start()
        session.inference.start()
        for camera in self._inputs.values():
            camera.subscribe()
        self._silence.start(self._inputs.values())

    def _make_session(self, model: GroundingModel, transforms: Transforms) -> ActiveSession:
        parameters = self.parameters
        revision = f"@{parameters.revision}" if parameters.revision else ""
        localizer = Localizer3D(self._frames, transforms, lambda: self.parameters)
        messages = ResultMessages(parameters.model + revision, localizer, self._now_ns)
        slow_outputs = SlowOutputs(
            self._outputs,
            messages,
            lambda: self.parameters.annotate,
            lambda error: log_error(self.get_logger(), error),
        )

        def publish(result: InferenceResult) -> None:
            self._outputs[result.frame.camera].publish(messages, result)
            slow_outputs.add(result)

        inference = InferenceThread(
            model,
            self._frames,
            publish=publish,
            to_rgb=lambda message: to_rgb(message, self._fallback),
            now_ns=self._now_ns,
            log_error=lambda error: log_error(self.get_logger(), error),
            limits=limits_of(parameters),
            step_s=self._warm_up_s,
        )
        self._session = ActiveSession(inference, messages, slow_outputs)
        self._apply_command()
        return self._session

    def _deactivate(self) -> None:
        session, self._session = self._session, None
        if session:
            if not session.inference.stop(STOP_TIMEOUT_S):
                self._unfinished = session.inference
                self.get_logger().warning("the model is still computing: its last answer will be dropped")
            session.slow_outputs.stop(STOP_TIMEOUT_S)
        for camera in self._inputs.values():
            camera.unsubscribe()

    def _clean_up(self) -> None:
        self._destroy_cameras_and_model()
        gc.collect()  # takes a while, so it is not part of closing
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _destroy_cameras_and_model(self) -> None:
        for camera in self._inputs.values():
            camera.unsubscribe()
        for output in self._outputs.values():
            output.destroy()
        self._inputs, self._outputs = {}, {}
        if self._transforms:
            self._transforms.destroy()
        self._transforms = self._model = None

    def close(self) -> None:
        """End everything, from any state."""
        self._deactivate()
        self._destroy_cameras_and_model()

    def _topics_line(self) -> str:
        reads = [topic for camera in self._inputs.values() for topic in camera.topics]
        reads.append(self._command_subscription.topic_name)
        writes = [topic for output in self._outputs.values() for topic in output.topics]
        return f"active: reads {', '.join(reads)}; writes {', '.join(writes)}"

    def _require_session(self) -> ActiveSession:
        """Return the session.

        Raises:
            RequestError: The node is not active; the message says if it is still loading.
        """
        if session := self._session:
            return session
        if self._loading:
            raise RequestError(
                Code.INACTIVE, "the node is still loading the model: ask again when it is active."
            )
        raise RequestError(
            Code.INACTIVE, "the node is not active: configure and activate it, then ask again."
        )

    # Parameters, which change as one set, and the command.

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            after = self._with_changes(parameters)
        except (InputError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        fixed = changed_fixed(self.parameters, after)
        if fixed and (self._state != "unconfigured" or self._transition_lock.locked()):
            reason = fixed_reason(fixed, self.get_fully_qualified_name())
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _with_changes(self, parameters: list[Parameter]) -> GroundingParameters:
        changes = {parameter.name: parameter.value for parameter in parameters}
        return parameters_of(vars(self.parameters) | changes)

    def _apply_parameters(self, parameters: list[Parameter]) -> None:
        with self._parameter_lock:
            before = self.parameters
            self.parameters = self._with_changes(parameters)
            self._limit_requests()
            if session := self._session:
                session.inference.limits = limits_of(self.parameters)
            if self.parameters.request() != before.request():
                self._apply_command()

    def _on_command(self, message: String) -> None:
        """Set the parameter `command`. A planner may publish an equal command often: that changes nothing."""
        if message.data == self.parameters.command:
            return
        [result] = self.set_parameters([Parameter("command", value=message.data)])
        if not result.successful:
            self.get_logger().warning(f"the command is refused: {result.reason}")

    def _apply_command(self) -> None:
        """Give the current command to the inference thread under a new id, and log it."""
        if (session := self._session) is None:
            return
        request = self.parameters.request()
        if request is None:
            if session.inference.command:
                self.get_logger().info("the command was withdrawn")
            session.inference.command = None
            return
        command = CurrentCommand(str(next(self._command_ids)), request)
        session.inference.command = command
        self.get_logger().info(f"command {command.id}: {request.text[:200]!r}")

    # Time and diagnostics.

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _forget_transforms(self, jump: Any) -> None:
        if self._transforms:
            self._transforms.clear()

    def _min_presence(self) -> float:
        """Return the threshold in use: the parameter's or the checkpoint's; NaN without a model."""
        threshold = self.parameters.min_presence
        return threshold if threshold >= 0 else float(getattr(self._model, "min_presence", "nan"))

    def _publish_diagnostics(self, _: object) -> None:
        values = {
            "model": self.parameters.model,
            "device": _device_of(self._model),
            "min_presence": self._min_presence(),
            "weights_sha256": self._weights.sha256 if self._model else "",
        }
        session = self._session
        inference = session.inference if session else None
        problems_3d = session.slow_outputs.problems if session else {}
        cameras = list(self._inputs.values())
        problem = self._unfinished_work() or self._load_error or getattr(self._model, "problem", "")
        model = ModelState(self._state, values, problem, self._loading, self._weights.warning)
        header = ROS.header(self._now_ns(), "")
        report = self._diagnostics.report(header, model, inference, cameras, problems_3d)
        self._diagnostics_publisher.publish(report)
        if inference:
            self._silence.check(cameras)


def limits_of(parameters: GroundingParameters) -> InferenceLimits:
    """Return the limits of the inference thread."""
    return InferenceLimits(
        max_age_ns=ns_of_s(parameters.max_frame_age_s),
        max_rate_hz=parameters.max_rate_hz,
        queue_size=parameters.query_queue_size,
        hang_s=parameters.hang_timeout_s,
    )
