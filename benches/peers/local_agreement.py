"""LocalAgreement-2: what two runs over a growing buffer agree on is final.

The rule of whisper_streaming and WhisperLiveKit (Macháček et al. 2023, "Turning Whisper into Real-Time Transcription System"),
written anew. Standard library only; `python3 -m doctest local_agreement.py` tests it. Not here: audio, any model.

>>> run = lambda *texts: [(second, second + 0.9, text) for second, text in enumerate(texts)]
>>> agreement = Agreement()
>>> agreement.insert(run(" How", " would", " your"), 0.0)
[]
>>> agreement.insert(run(" How", " would", " you", " design"), 0.0)
[' How', ' would']
>>> agreement.insert(run(" How", " would", " you", " design", " this?"), 0.0)
[' you', ' design']
>>> agreement.text()
' How would you design this?'

Words that were confirmed before and come again, a little displaced, are not said twice:

>>> agreement.insert([(3.85, 4.0, " design"), (4.0, 4.9, " this?"), (5.0, 5.9, " And")], 0.0)
[' this?']
>>> agreement.text()
' How would you design this? And'

The buffer is trimmed where the last sentence but one that was confirmed ends, and later runs count from there. While there
is but one sentence, it is trimmed where the last confirmed word ends:

>>> agreement.trim_point()
4.9
>>> Agreement().trim_point() is None
True
>>> agreement.insert([(0.0, 0.5, " And"), (1.0, 1.5, " now."), (2.0, 2.5, " Well")], 5.0)
[' And']
>>> agreement.insert([(0.0, 0.5, " And"), (1.0, 1.5, " now."), (2.0, 2.5, " Well")], 5.0)
[' now.', ' Well']
>>> agreement.trim_point()
6.5
>>> agreement.prompt(6.5)
' How would you design this? And now.'
"""


class Agreement:
    """The confirmed words and the last hypothesis beyond them; a word is (start, end, text), in seconds."""

    def __init__(self):
        self.confirmed = []
        self.hypothesis = []

    def insert(self, words, offset):
        """Takes in a run over the buffer that begins at `offset` seconds; returns the texts that it confirms."""
        until = self.confirmed[-1][1] if self.confirmed else 0.0
        words = [(start + offset, end + offset, text) for start, end, text in words]
        fresh = self._unsaid([word for word in words if word[0] > until - 0.1], until)
        agreed = 0
        for before, now in zip(self.hypothesis, fresh):
            if before[2] != now[2]:
                break
            agreed += 1
        self.confirmed += fresh[:agreed]
        self.hypothesis = fresh[agreed:]
        return [text for _, _, text in fresh[:agreed]]

    def _unsaid(self, fresh, until):
        """`fresh` without a beginning of up to five words that repeats the end of what is confirmed."""
        if not fresh or abs(fresh[0][0] - until) >= 1.0:
            return fresh
        texts = lambda words: [text for _, _, text in words]
        for length in range(1, min(5, len(fresh), len(self.confirmed)) + 1):
            if texts(self.confirmed[-length:]) == texts(fresh[:length]):
                return fresh[length:]
        return fresh

    def text(self):
        """All that was said, the unconfirmed rest too: the final text when the turn has ended."""
        return "".join(text for _, _, text in self.confirmed + self.hypothesis)

    def trim_point(self):
        """Where a buffer that has grown too long is cut, as WhisperLiveKit does it; none while nothing is confirmed."""
        if not self.confirmed:
            return None
        last = self.confirmed[-1][1]
        ends = [end for _, end, text in self.confirmed if text.rstrip().endswith((".", "?", "!"))]
        if ends and ends[-1] < last:
            # The sentence that has begun counts as the last.
            ends.append(last)
        return ends[-2] if len(ends) >= 2 else last

    def prompt(self, offset):
        """The last 200 characters of what was confirmed before the buffer's beginning."""
        return "".join(text for _, end, text in self.confirmed if end <= offset)[-200:]
