"""Turns whisper.cpp's ggml file of an English model into the folder that faster-whisper loads, so that both run the same weights.

    ggml_to_ct2.py GGML TEMPLATE OUT

TEMPLATE is the CTranslate2 folder of any other English model: its vocabulary.txt, tokenizer.json and config.json are the
same for all of them, but for the alignment heads. Nothing is lost: from tiny.en's ggml file comes, byte for byte, the model.bin
that was published. Needs numpy. Not here: multilingual models, quantised ggml files (CTranslate2 quantises when it loads).
"""
import json
import os
import shutil
import struct
import sys

import numpy as np

# Heads (layer, head) whose attention follows the audio, by number of layers: OpenAI's, as whisper.cpp lists them.
ALIGNMENT_HEADS = {
    4: [[1, 0], [2, 0], [2, 5], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]],  # tiny.en
    6: [[3, 3], [4, 7], [5, 1], [5, 5], [5, 7]],  # base.en
}
ENGLISH_VOCABULARY = 51_864
DTYPES = {np.dtype("<i1"): 1, np.dtype("<i2"): 2, np.dtype("<f2"): 4}


def read_ggml(path):
    """Hyperparameters by name, and tensors by OpenAI's names."""
    data, at = open(path, "rb").read(), 0

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values

    names = "magic vocab audio_ctx audio_state audio_head audio_layer text_ctx text_state text_head text_layer mels ftype"
    hyper = dict(zip(names.split(), take("12i")))
    if hyper["magic"] != 0x67676D6C or hyper["ftype"] not in (0, 1):
        raise ValueError("not a ggml file of f16 or f32 weights")
    rows, columns = take("2i")
    at += rows * columns * 4
    for _ in range(take("i")[0]):
        (length,) = take("i")
        at += length
    tensors = {}
    while at < len(data):
        rank, length, kind = take("3i")
        shape = take(f"{rank}i")[::-1]
        name = data[at : at + length].decode()
        at += length
        dtype = np.dtype("<f2" if kind else "<f4")
        count = int(np.prod(shape))
        tensors[name] = np.frombuffer(data, dtype, count, at).reshape(shape)
        at += count * dtype.itemsize
    return hyper, tensors


def variables(hyper, tensors):
    """CTranslate2's variables by name, in float16 as Systran publishes them."""
    found = {}

    def put(name, array):
        half = np.ascontiguousarray(array, dtype="<f2")
        if not np.array_equal(half.astype(np.float32), np.asarray(array, dtype=np.float32)):
            raise ValueError(f"{name} does not fit float16")
        found[name] = half

    def linear(to, source):
        put(to + "/weight", tensors[source + ".weight"])
        put(to + "/bias", tensors[source + ".bias"])

    def norm(to, source):
        put(to + "/gamma", tensors[source + ".weight"])
        put(to + "/beta", tensors[source + ".bias"])

    def fused(to, source, parts):
        weights = [tensors[f"{source}.{part}.weight"] for part in parts]
        # Whisper's keys have no bias.
        bias = [tensors.get(f"{source}.{part}.bias", np.zeros(len(weights[0]), "<f4")) for part in parts]
        put(to + "/weight", np.concatenate(weights))
        put(to + "/bias", np.concatenate(bias))

    for side, layers in (("encoder", hyper["audio_layer"]), ("decoder", hyper["text_layer"])):
        for layer in range(layers):
            to, source = f"{side}/layer_{layer}", f"{side}.blocks.{layer}"
            norm(to + "/self_attention/layer_norm", source + ".attn_ln")
            fused(to + "/self_attention/linear_0", source + ".attn", ("query", "key", "value"))
            linear(to + "/self_attention/linear_1", source + ".attn.out")
            if side == "decoder":
                norm(to + "/attention/layer_norm", source + ".cross_attn_ln")
                linear(to + "/attention/linear_0", source + ".cross_attn.query")
                fused(to + "/attention/linear_1", source + ".cross_attn", ("key", "value"))
                linear(to + "/attention/linear_2", source + ".cross_attn.out")
            norm(to + "/ffn/layer_norm", source + ".mlp_ln")
            linear(to + "/ffn/linear_0", source + ".mlp.0")
            linear(to + "/ffn/linear_1", source + ".mlp.2")
        put(f"{side}/position_encodings/encodings", tensors[f"{side}.positional_embedding"])
    for conv in ("conv1", "conv2"):
        put(f"encoder/{conv}/weight", tensors[f"encoder.{conv}.weight"])
        put(f"encoder/{conv}/bias", tensors[f"encoder.{conv}.bias"].reshape(-1))
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    put("decoder/embeddings/weight", tensors["decoder.token_embedding.weight"])
    number = lambda value, dtype: np.array(value, dtype=dtype)
    found |= {
        "encoder/num_heads": number(hyper["audio_head"], "<i2"),
        "decoder/num_heads": number(hyper["text_head"], "<i2"),
        "decoder/activation": number(3, "<i1"),  # GELU
        "decoder/alibi": number(0, "<i1"),
        "decoder/alignment_heads": number(1, "<i2"),  # averaged
        "decoder/alignment_layer": number(-1, "<i2"),  # the last
        "decoder/pre_norm": number(1, "<i1"),
        "decoder/scale_embeddings": number(0, "<i1"),
        "decoder/start_from_zero_embedding": number(0, "<i1"),
    }
    return found


def write_ct2(path, found):
    """CTranslate2's binary format, version 6."""
    text = lambda value: struct.pack("<H", len(value) + 1) + value.encode() + b"\0"
    with open(path, "wb") as file:
        file.write(struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<2I", 3, len(found)))
        for name, array in sorted(found.items()):
            shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
            file.write(text(name) + shape + struct.pack("<BI", DTYPES[array.dtype], array.nbytes))
            file.write(array.tobytes())
        file.write(struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight"))


def convert(ggml, template, out):
    hyper, tensors = read_ggml(ggml)
    if hyper["vocab"] != ENGLISH_VOCABULARY:
        raise ValueError("not an English model")
    # Beside its place and then renamed, so that it is whole or absent.
    fresh = f"{out}.{os.getpid()}"
    os.makedirs(fresh)
    write_ct2(os.path.join(fresh, "model.bin"), variables(hyper, tensors))
    for name in ("vocabulary.txt", "tokenizer.json"):
        shutil.copyfile(os.path.join(template, name), os.path.join(fresh, name))
    with open(os.path.join(template, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config["alignment_heads"] = ALIGNMENT_HEADS[hyper["text_layer"]]
    with open(os.path.join(fresh, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    os.rename(fresh, out)


if __name__ == "__main__":
    convert(*sys.argv[1:])
