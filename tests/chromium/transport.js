// The two ways for a page to reach the server: a WebSocket, and WebTransport. Both give
//   open()           whether something can still be sent
//   audio(chunk)     sends a Blob or an ArrayBuffer
//   control(message) sends a message of the protocol, after all audio before it
//   closed           how the server closed: { code, reason, wasClean }

/** `onEvent` gets each event. */
export async function webSocket(url, onEvent, fault) {
  const socket = new WebSocket(url, "interviewai.v1");
  socket.onerror = () => fault("the socket failed");
  socket.onmessage = ({ data }) => onEvent(JSON.parse(data));
  const closed = new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
  });
  const opened = new Promise((resolve) => { socket.onopen = resolve; });
  await Promise.race([opened, closed]);
  return {
    framing: "raw",
    open: () => socket.readyState === WebSocket.OPEN,
    audio: (chunk) => socket.send(chunk),
    control: (message) => socket.send(JSON.stringify(message)),
    closed,
  };
}

/** `sha256` is the hash of the server's certificate, which nobody vouches for. */
export async function webTransport(url, sha256, onEvent, fault) {
  const value = Uint8Array.from(sha256.match(/../g), (byte) => parseInt(byte, 16));
  const session = new WebTransport(url, { serverCertificateHashes: [{ algorithm: "sha-256", value }] });
  let open = true;
  const closed = session.closed.then(
    ({ closeCode, reason }) => ({ code: closeCode, reason, wasClean: true }),
    (error) => ({ code: 1006, reason: String(error), wasClean: false }),
  ).finally(() => { open = false; });
  try {
    await session.ready;
  } catch (error) {
    fault(error);
    return { framing: "numbered", open: () => false, audio() {}, control() {}, closed };
  }
  const { readable, writable } = await session.createBidirectionalStream();
  const control = writable.getWriter();
  read(readable.getReader(), onEvent).then(() => control.close()).catch(fault);

  // Everything goes out in the order in which it was given.
  let queue = Promise.resolve();
  const then = (act) => { queue = queue.then(act).catch((error) => { if (open) fault(error); }); };
  let stream = null;
  let seq = 0;
  return {
    framing: "numbered",
    open: () => open,
    audio: (chunk) => then(async () => {
      const bytes = new Uint8Array(chunk instanceof Blob ? await chunk.arrayBuffer() : chunk);
      const header = new DataView(new ArrayBuffer(8));
      header.setUint8(0, 1);
      header.setUint32(4, seq++);
      stream ??= (await session.createUnidirectionalStream()).getWriter();
      await stream.write(message(new Uint8Array(header.buffer), bytes));
    }),
    control: (json) => then(async () => {
      // There is no order between streams: the server has all of a stream once its end is confirmed.
      await stream?.close();
      stream = null;
      await control.write(message(new TextEncoder().encode(JSON.stringify(json))));
    }),
    closed,
  };
}

/** A length of four bytes, and the parts. */
function message(...parts) {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const whole = new Uint8Array(4 + length);
  new DataView(whole.buffer).setUint32(0, length);
  let at = 4;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

async function read(reader, onEvent) {
  let had = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const all = new Uint8Array(had.byteLength + value.byteLength);
    all.set(had);
    all.set(value, had.byteLength);
    had = all;
    while (had.byteLength >= 4) {
      const length = new DataView(had.buffer, had.byteOffset).getUint32(0);
      if (had.byteLength < 4 + length) break;
      onEvent(JSON.parse(new TextDecoder().decode(had.subarray(4, 4 + length))));
      had = had.slice(4 + length);
    }
  }
}
