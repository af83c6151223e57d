"""What the WebSocket transport answers to the package `websockets`: good behaviour by its client, bad behaviour by its frames.

Not here: whatever the Autobahn suite has in more detail. Arguments: the address of an echo server.
"""

import socket
import sys
import urllib.parse

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect
from websockets.uri import parse_uri

URL = sys.argv[1]


def echoes():
    """Messages of every size that has a length of its own, whole and in pieces, come back as they were."""
    with connect(URL, max_size=None, compression=None) as peer:
        for size in (0, 1, 125, 126, 127, 128, 65_535, 65_536, 1_000_000):
            for message in ("é" * (size // 2), bytes(size)):
                peer.send(message)
                assert peer.recv(timeout=30) == message, size
        peer.send(["frag", "", "mén", "ts"])
        assert peer.recv(timeout=30) == "fragménts"
        peer.send([b"\x00", b"\xff" * 200])
        assert peer.recv(timeout=30) == b"\x00" + b"\xff" * 200
        assert peer.ping(b"anybody?").wait(30)
        peer.close(3123, "a code of its own")
    assert peer.close_code == 3123, peer.close_code


def closed_with(*frames):
    """The close code that answers these frames, each (opcode, payload, how to change its bytes); a pong on the way is fine."""
    parts = urllib.parse.urlsplit(URL)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as wire:
        protocol = ClientProtocol(parse_uri(URL))
        protocol.send_request(protocol.connect())
        wire.sendall(b"".join(protocol.data_to_send()))
        while protocol.state.name == "CONNECTING":
            protocol.receive_data(wire.recv(4_096))
        for opcode, payload, fin, change in frames:
            data = Frame(opcode, payload, fin=fin).serialize(mask=True)
            wire.sendall(change(bytearray(data)))
        while True:
            data = wire.recv(4_096)
            if not data:
                protocol.receive_eof()
                return protocol.close_code
            protocol.receive_data(data)
            if protocol.close_rcvd is not None:
                return protocol.close_rcvd.code


def frame(opcode, payload=b"", fin=True, change=bytes):
    return opcode, payload, fin, change


def reserved_bit(data):
    data[0] |= 0x40
    return bytes(data)


def reserved_opcode(data):
    data[0] = (data[0] & 0xF0) | 0x3
    return bytes(data)


def unmasked(data):
    return bytes([data[0], data[1] & 0x7F]) + bytes(data[6:])


def not_the_last(data):
    data[0] &= 0x7F
    return bytes(data)


def long_ping(data):
    return bytes([0x89, 0xFE, 0, 126]) + bytes(4 + 126)


def check(expected, name, *frames):
    found = closed_with(*frames)
    assert found == expected, f"{name}: closed with {found} instead of {expected}"


echoes()
check(1000, "a plain close", frame(Opcode.CLOSE, b"\x03\xe8"))
check(1007, "a text that is not UTF-8", frame(Opcode.TEXT, b"\xce\xba\xff"))
check(1007, "UTF-8 that breaks off", frame(Opcode.TEXT, "é".encode()[:1]))
check(1007, "UTF-8 that is broken by the second fragment", frame(Opcode.TEXT, b"\xc3", fin=False), frame(Opcode.CONT, b"\x28"))
check(1002, "a reserved bit", frame(Opcode.TEXT, b"x", change=reserved_bit))
check(1002, "a reserved opcode", frame(Opcode.BINARY, b"x", change=reserved_opcode))
check(1002, "no mask", frame(Opcode.TEXT, b"x", change=unmasked))
check(1002, "a ping of 126 bytes", frame(Opcode.PING, change=long_ping))
check(1002, "a ping in pieces", frame(Opcode.PING, b"x", change=not_the_last))
check(1002, "a continuation of nothing", frame(Opcode.CONT, b"x"))
check(1002, "a message inside a message", frame(Opcode.TEXT, b"a", fin=False), frame(Opcode.TEXT, b"b"))
check(1002, "half a close code", frame(Opcode.CLOSE, b"\x03"))
check(1002, "a close code that no wire has", frame(Opcode.CLOSE, b"\x03\xed"))
check(1000, "a ping between fragments", frame(Opcode.TEXT, b"a", fin=False), frame(Opcode.PING, b"?"),
      frame(Opcode.CONT, b"b"), frame(Opcode.CLOSE, b"\x03\xe8"))
print("conforms")
