//! A ggml model in the form that CTranslate2 loads: `model.bin`, `vocabulary.txt`, `config.json`, all in memory.
//!
//! The counterpart of `models::weights`, which turns CTranslate2's files into ggml: query, key and value are stacked into one
//! matrix, and a key gets a bias of zero. Not here: quantising, which CTranslate2 does as it loads.

use std::io::{Error, ErrorKind, Result};

use serde_json::json;

use super::{
    ggml::{GgmlModel, Sizes},
    vocabulary::Vocabulary,
};

/// CTranslate2's `model.bin`, binary version 6 (its `src/models/model.cc`).
///
/// # Errors
/// When `model` lacks a tensor or cannot be read.
pub(super) fn model_bin(model: &mut GgmlModel) -> Result<Vec<u8>> {
    let Sizes { audio_heads, text_heads, .. } = model.sizes;
    let mut file = Variables { model, out: Vec::new(), count: 0 };
    file.layers()?;
    for (name, kind, value) in [
        ("encoder/num_heads", INT16, audio_heads),
        ("decoder/num_heads", INT16, text_heads),
        // GELU.
        ("decoder/activation", INT8, 3),
        ("decoder/alignment_heads", INT16, 1),
        ("decoder/pre_norm", INT8, 1),
        ("decoder/scale_embeddings", INT8, 0),
        ("decoder/start_from_zero_embedding", INT8, 0),
    ] {
        file.scalar(name, kind, value);
    }
    let Variables { out: variables, count, .. } = file;
    let mut out = 6u32.to_le_bytes().to_vec();
    string(&mut out, "WhisperSpec");
    out.extend(3u32.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(variables);
    // One alias: the output layer is the embedding.
    out.extend(1u32.to_le_bytes());
    string(&mut out, "decoder/projection/weight");
    string(&mut out, "decoder/embeddings/weight");
    Ok(out)
}

/// CTranslate2's `config.json`.
pub(super) fn config(sizes: Sizes, vocabulary: &Vocabulary) -> String {
    json!({
        "alignment_heads": alignment_heads(sizes),
        "lang_ids": vocabulary.languages().collect::<Vec<_>>(),
        "suppress_ids": [],
        "suppress_ids_begin": [vocabulary.space(), vocabulary.end_of_text()],
    })
    .to_string()
}

struct Variables<'a> {
    model: &'a mut GgmlModel,
    out: Vec<u8>,
    count: u32,
}

impl Variables<'_> {
    fn layers(&mut self) -> Result<()> {
        let Sizes { audio_layers, text_layers, .. } = self.model.sizes;
        for (side, layers) in [("encoder", audio_layers), ("decoder", text_layers)] {
            for layer in 0..layers {
                self.block(side, &format!("{side}/layer_{layer}"), &format!("{side}.blocks.{layer}"))?;
            }
            let encodings = format!("{side}/position_encodings/encodings");
            self.tensor(&encodings, &format!("{side}.positional_embedding"))?;
        }
        for conv in ["conv1", "conv2"] {
            self.linear(&format!("encoder/{conv}"), &format!("encoder.{conv}"))?;
        }
        self.norm("encoder/layer_norm", "encoder.ln_post")?;
        self.norm("decoder/layer_norm", "decoder.ln")?;
        self.tensor("decoder/embeddings/weight", "decoder.token_embedding.weight")
    }

    fn block(&mut self, side: &str, to: &str, from: &str) -> Result<()> {
        self.norm(&format!("{to}/self_attention/layer_norm"), &format!("{from}.attn_ln"))?;
        self.stacked(
            &format!("{to}/self_attention/linear_0"),
            &format!("{from}.attn"),
            &["query", "key", "value"],
        )?;
        self.linear(&format!("{to}/self_attention/linear_1"), &format!("{from}.attn.out"))?;
        if side == "decoder" {
            let (to, from) = (format!("{to}/attention"), format!("{from}.cross_attn"));
            self.norm(&format!("{to}/layer_norm"), &format!("{from}_ln"))?;
            self.linear(&format!("{to}/linear_0"), &format!("{from}.query"))?;
            self.stacked(&format!("{to}/linear_1"), &from, &["key", "value"])?;
            self.linear(&format!("{to}/linear_2"), &format!("{from}.out"))?;
        }
        self.norm(&format!("{to}/ffn/layer_norm"), &format!("{from}.mlp_ln"))?;
        self.linear(&format!("{to}/ffn/linear_0"), &format!("{from}.mlp.0"))?;
        self.linear(&format!("{to}/ffn/linear_1"), &format!("{from}.mlp.2"))
    }

    fn norm(&mut self, to: &str, from: &str) -> Result<()> {
        self.tensor(&format!("{to}/gamma"), &format!("{from}.weight"))?;
        self.tensor(&format!("{to}/beta"), &format!("{from}.bias"))
    }

    fn linear(&mut self, to: &str, from: &str) -> Result<()> {
        self.tensor(&format!("{to}/weight"), &format!("{from}.weight"))?;
        self.tensor(&format!("{to}/bias"), &format!("{from}.bias"))
    }

    /// The matrices `parts` of `from`, one below the other.
    fn stacked(&mut self, to: &str, from: &str, parts: &[&str]) -> Result<()> {
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        let mut width = 0;
        for part in parts {
            let name = format!("{from}.{part}.weight");
            let [rows, columns] = *self.model.dims(&name)? else {
                return Err(Error::new(ErrorKind::InvalidData, format!("{name} is no matrix")));
            };
            width = columns;
            self.model.read_f16(&name, &mut weights)?;
            if *part == "key" {
                bias.resize(bias.len() + rows as usize * 2, 0);
            } else {
                self.model.read_f16(&format!("{from}.{part}.bias"), &mut bias)?;
            }
        }
        let rows = (bias.len() / 2) as u32;
        self.variable(&format!("{to}/weight"), &[rows, width], FLOAT16, &weights);
        self.variable(&format!("{to}/bias"), &[rows], FLOAT16, &bias);
        Ok(())
    }

    fn tensor(&mut self, to: &str, from: &str) -> Result<()> {
        let mut dims = self.model.dims(from)?.to_vec();
        if dims.last() == Some(&1) && dims.len() == 2 {
            // The biases of the convolutions are columns in ggml.
            dims.pop();
        }
        let mut values = Vec::new();
        self.model.read_f16(from, &mut values)?;
        self.variable(to, &dims, FLOAT16, &values);
        Ok(())
    }

    fn scalar(&mut self, name: &str, kind: u8, value: u32) {
        let bytes = value.to_le_bytes();
        self.variable(name, &[], kind, if kind == INT8 { &bytes[..1] } else { &bytes[..2] });
    }

    fn variable(&mut self, name: &str, dims: &[u32], kind: u8, values: &[u8]) {
        string(&mut self.out, name);
        self.out.push(dims.len() as u8);
        self.out.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        self.out.push(kind);
        self.out.extend((values.len() as u32).to_le_bytes());
        self.out.extend(values);
        self.count += 1;
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16 + 1).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

/// The heads (layer, head) whose attention follows the audio: OpenAI's lists, by depth and language of the decoder. For
/// others all heads of the upper half of the layers, which is OpenAI's own default.
fn alignment_heads(sizes: Sizes) -> Vec<[u32; 2]> {
    let english = sizes.vocabulary == super::vocabulary::ENGLISH;
    let known: &[[u32; 2]] = match (sizes.text_layers, english) {
        (4, true) => &[[1, 0], [2, 0], [2, 5], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]],
        (4, false) if sizes.audio_layers == 4 => &[[2, 2], [3, 0], [3, 2], [3, 3], [3, 4], [3, 5]],
        (6, true) => &[[3, 3], [4, 7], [5, 1], [5, 5], [5, 7]],
        (6, false) => &[[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]],
        _ => &[],
    };
    if known.is_empty() {
        let upper = sizes.text_layers / 2..sizes.text_layers;
        return upper.flat_map(|layer| (0..sizes.text_heads).map(move |head| [layer, head])).collect();
    }
    known.to_vec()
}

/// CTranslate2's numbers of its types.
const INT8: u8 = 1;
const INT16: u8 = 2;
const FLOAT16: u8 = 4;
