// The audio thread's half of page.html: mono float blocks in, s16le pieces of 20 ms out.
class Pcm extends AudioWorkletProcessor {
  piece = new Int16Array(sampleRate / 50);
  filled = 0;

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.piece[this.filled++] = Math.max(-1, Math.min(1, sample)) * 0x7fff;
      if (this.filled === this.piece.length) {
        this.port.postMessage(this.piece.buffer.slice(0));
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("pcm", Pcm);
