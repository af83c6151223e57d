"""One peer in a process of its own: hears recordings in real time as its users would let it, and says when it knew what.

    peer.py LIBRARY MODEL MODE [COMPUTE_TYPE]

LIBRARY is faster-whisper or pywhispercpp, MODE is utterance (cut by voice activity, then transcribed whole) or streaming
(LocalAgreement over the growing utterance, faster-whisper only). Standard input has a request a line:

    {"play": [{"pcm": PATH, "offset_ms": MS}, ...]}    raw 16 kHz mono s16le, each a client of its own from its offset on

Standard output has `{"ready": ...}` once, then for each request its finals and `{"done": true}`:

    {"client": N, "text": T, "start_ms": MS, "end_ms": MS, "at_ms": MS}

start_ms and end_ms are in the client's audio; at_ms counts from when its first sample was said. One model serves all clients, a
queue before it, with the library's own defaults (beam, temperature fall-back, threads). Not here: measuring CPU, scoring.
"""
import json
import os
import queue
import sys
import threading
import time

import numpy as np

from local_agreement import Agreement
from turns import RATE, Turns

CHUNK = RATE // 50  # 20 ms, as a microphone sends
MIN_CHUNK = RATE  # whisper_streaming's --min-chunk-size, 1 s
TRIM_AFTER = 15 * RATE  # whisper_streaming's --buffer_trimming_sec
# whisper.cpp refuses less than a second; users pad.
SHORTEST = RATE + RATE // 20


class FasterWhisper:
    """Its README's `model.transcribe(audio)`, the language given."""

    def __init__(self, model, compute_type):
        import faster_whisper

        self.version = f"faster-whisper {faster_whisper.__version__} {compute_type}"
        self.model = faster_whisper.WhisperModel(model, device="cpu", compute_type=compute_type)

    def text(self, audio):
        return "".join(segment.text for segment in self.model.transcribe(audio, language="en")[0])

    def words(self, audio, prompt):
        segments, _ = self.model.transcribe(audio, language="en", initial_prompt=prompt, word_timestamps=True)
        # WhisperLiveKit's threshold.
        spoken = (segment for segment in segments if segment.no_speech_prob <= 0.9)
        return [(word.start, word.end, word.word) for segment in spoken for word in segment.words]


class PyWhisperCpp:
    """Its README's `model.transcribe(audio)`, whose default is greedy."""

    def __init__(self, model, _):
        import importlib.metadata

        from pywhispercpp.model import Model

        self.version = f"pywhispercpp {importlib.metadata.version('pywhispercpp')}"
        quiet = {"print_progress": False, "print_realtime": False, "redirect_whispercpp_logs_to": None}
        self.model = Model(model, language="en", **quiet)

    def text(self, audio):
        if len(audio) < SHORTEST:
            audio = np.pad(audio, (0, SHORTEST - len(audio)))
        return " ".join(segment.text for segment in self.model.transcribe(audio))


LIBRARIES = {"faster-whisper": FasterWhisper, "pywhispercpp": PyWhisperCpp}


def by_utterance(library, turn):
    turn.wait(None)
    return library.text(turn.audio())


def by_streaming(library, turn):
    """A run for each second that has come; all of it is final after one more when the turn has ended."""
    agreement, heard, trimmed = Agreement(), 0, 0
    while True:
        ended = turn.wait(heard + MIN_CHUNK)
        audio = turn.audio()
        heard = len(audio)
        words = library.words(audio[trimmed:], agreement.prompt(trimmed / RATE) or None)
        agreement.insert(words, trimmed / RATE)
        if ended:
            return agreement.text()
        point = agreement.trim_point()
        if heard - trimmed > TRIM_AFTER and point is not None:
            trimmed = min(heard, max(trimmed, int(point * RATE)))


MODES = {"utterance": by_utterance, "streaming": by_streaming}


class Client:
    """A recording that is being said."""

    def __init__(self, number, request, mode, waiting):
        self.number = number
        self.audio = np.fromfile(request["pcm"], dtype="<i2").astype(np.float32) / 32768
        self.offset = request.get("offset_ms", 0) / 1e3
        self.sent = 0
        take, leave = lambda turn: waiting.put((self, turn)), lambda turn: None
        self.turns = Turns(leave, take) if mode is by_utterance else Turns(take, leave)

    def next_due(self):
        """Nothing leaves before it has been said."""
        return self.offset + (self.sent + CHUNK) / RATE

    def send(self):
        """False when that was the last."""
        self.turns.push(self.audio[self.sent : self.sent + CHUNK])
        self.sent += CHUNK
        if self.sent < len(self.audio):
            return True
        self.turns.finish()
        return False


def play(requests, library, mode, say):
    """Says all the recordings in real time; returns when all that was heard is written down."""
    # In the order in which turns end; streaming, which has one client, begins with them.
    waiting = queue.Queue()
    clients = [Client(number, request, mode, waiting) for number, request in enumerate(requests)]
    began = time.perf_counter()

    def write_down():
        while (item := waiting.get()) is not None:
            client, turn = item
            text = mode(library, turn).strip()
            at = time.perf_counter() - began - client.offset
            times = {"start_ms": turn.start / RATE * 1e3, "end_ms": turn.end / RATE * 1e3, "at_ms": at * 1e3}
            say({"client": client.number, "text": text, **times})

    writer = threading.Thread(target=write_down)
    writer.start()
    speaking = list(clients)
    while speaking:
        client = min(speaking, key=Client.next_due)
        time.sleep(max(0.0, client.next_due() - (time.perf_counter() - began)))
        if not client.send():
            speaking.remove(client)
    waiting.put(None)
    writer.join()
    say({"done": True})


def main(library, model, mode, compute_type="default"):
    # What a library prints is not for the other side.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(reply):
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    library = LIBRARIES[library](model, compute_type)
    say({"ready": library.version})
    for line in sys.stdin:
        play(json.loads(line)["play"], library, MODES[mode], say)


if __name__ == "__main__":
    main(*sys.argv[1:])
