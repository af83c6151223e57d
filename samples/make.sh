#!/usr/bin/env bash
# Makes interview.flac from interview.txt: each line is spoken, then silence follows.
# Needs flite and sox (apt-get install flite sox). Same versions, same file, byte for byte.
set -euo pipefail
cd "$(dirname "$0")"

voice=rms      # the clearest of flite's voices: Whisper base.en writes both questions down word for word
stretch=1.1    # a little slower than flite's default, as one asks a question
lead=0.5       # seconds of silence before the first question
pause=4        # between the questions: the turn ends, and an answer begins
tail=1         # after the last one: the turn ends here too
room=0.0005    # amplitude of the room's noise: no microphone is ever digitally silent

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

parts=()
while IFS= read -r line; do
    raw=$work/${#parts[@]}-raw.wav part=$work/${#parts[@]}.wav
    flite -voice $voice --setf duration_stretch=$stretch -t "$line" -o "$raw"
    # flite's own silence goes (both ends, below 0.1 %), so that the pauses are those named above.
    before=$lead
    ((${#parts[@]} == 0)) || before=$pause
    sox -R "$raw" "$part" silence 1 0.02 0.1% reverse silence 1 0.02 0.1% reverse norm -4 pad "$before" 0
    parts+=("$part")
done <interview.txt

sox -R "${parts[@]}" "$work/speech.wav" pad 0 "$tail"
sox -R "$work/speech.wav" "$work/room.wav" synth pinknoise vol "$room"
sox -R -m -v 1 "$work/speech.wav" -v 1 "$work/room.wav" -C 8 interview.flac
soxi interview.flac
