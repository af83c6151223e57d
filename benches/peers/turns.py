"""Where turns begin and end, by Silero's voice activity model as faster-whisper bundles it, fed as the audio comes.

The rule is Silero's own VADIterator with whisper_streaming's settings: threshold 0.5, a turn ends after 0.5 s of silence. Not here:
recognition.
"""
import os
import threading

import numpy as np

RATE = 16_000
WINDOW = 512
CONTEXT = 64
THRESHOLD = 0.5
# Silence is below this; in between, what was is still so.
SILENCE_THRESHOLD = THRESHOLD - 0.15
MIN_SILENCE = RATE // 2
# What a turn has from before its onset: faster-whisper's speech_pad_ms.
BEFORE = RATE * 2 // 5


class Turn:
    """A turn whose audio grows until it has ended. `start` and `end` are samples of the client's audio."""

    def __init__(self, start, audio):
        self.start = self.end = start
        self.ended = False
        self._pieces = []
        self._changed = threading.Condition()
        self.push(audio)

    def push(self, audio):
        with self._changed:
            self._pieces.append(audio)
            self.end += len(audio)
            self._changed.notify_all()

    def finish(self):
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait(self, samples):
        """Until there are so many, or for None all; true when the turn has ended."""
        enough = lambda: self.ended or (samples is not None and self.end - self.start >= samples)
        with self._changed:
            self._changed.wait_for(enough)
            return self.ended

    def audio(self):
        with self._changed:
            return np.concatenate(self._pieces)


class Turns:
    """Cuts audio into turns; `begun` gets each when it begins, `ended` when it has ended."""

    def __init__(self, begun, ended):
        self.begun = begun
        self.ended = ended
        self.activity = Activity()
        self.turn = None
        self.silent_since = None
        self.position = 0
        self.rest = np.zeros(0, np.float32)
        self.before = np.zeros(0, np.float32)

    def push(self, audio):
        self.rest = np.concatenate((self.rest, audio))
        while len(self.rest) >= WINDOW:
            window, self.rest = self.rest[:WINDOW], self.rest[WINDOW:]
            self._window(window)

    def _window(self, window):
        score = self.activity.score(window)
        began, self.position = self.position, self.position + WINDOW
        if self.turn is None:
            if score >= THRESHOLD:
                self.turn = Turn(began - len(self.before), np.concatenate((self.before, window)))
                self.silent_since = None
                self.begun(self.turn)
            self.before = np.concatenate((self.before, window))[-BEFORE:]
            return
        self.turn.push(window)
        if score >= THRESHOLD:
            self.silent_since = None
        elif score < SILENCE_THRESHOLD and self.silent_since is None:
            self.silent_since = began
        if self.silent_since is not None and self.position - self.silent_since >= MIN_SILENCE:
            self.finish()
            self.before = window

    def finish(self):
        """The audio has ended, or enough silence was heard."""
        if self.turn is not None:
            self.turn.finish()
            self.ended(self.turn)
            self.turn = None


class Activity:
    """The model, keeping its state from window to window."""

    _session = None

    def __init__(self):
        if Activity._session is None:
            Activity._session = load()
        self.h = self.c = np.zeros((1, 1, 128), np.float32)
        self.context = np.zeros(CONTEXT, np.float32)

    def score(self, window):
        """How likely it is that these 32 ms are speech, 0 to 1."""
        audio = np.concatenate((self.context, window))[None]
        self.context = window[-CONTEXT:]
        scores, self.h, self.c = Activity._session.run(None, {"input": audio, "h": self.h, "c": self.c})
        return float(scores.reshape(-1)[0])


def load():
    """As faster_whisper.vad does it."""
    import faster_whisper
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 4
    path = os.path.join(os.path.dirname(faster_whisper.__file__), "assets", "silero_vad_v6.onnx")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"], sess_options=options)
