//! Writes a float16 Whisper model of CTranslate2 as whisper.cpp's legacy ggml file, byte for byte the upstream one.
//!
//! Not here: quantising. The order of the tensors is that of OpenAI's checkpoints; the upstream file's hash includes
//! it. CTranslate2 stacks query, key and value into one matrix; they are cut apart by rows. A key has no bias.

use std::{
    io::{BufRead, Seek, Write},
    ops::Range,
};

use half::f16;

use super::{
    ConvertError,
    ct2::{Ct2Model, Kind, unsupported},
    mel, vocabulary,
};

/// A conversion, planned: all shapes are checked, nothing is written yet.
#[derive(Debug)]
pub(super) struct Conversion {
    /// In the order of the file, after the magic number.
    hparams: [u32; 11],
    mels: usize,
    tokens: Vec<Vec<u8>>,
    tensors: Vec<Tensor>,
    /// Elements that must be zero for the conversion to lose nothing.
    zeros: Vec<(String, Range<u64>)>,
}

/// One tensor of the ggml file: a row range of one variable.
#[derive(Debug)]
struct Tensor {
    name: String,
    variable: String,
    elements: Range<u64>,
    /// Row-major, slowest first; the file has them in reverse.
    dims: Vec<u32>,
    /// Matrices stay float16; vectors and positions are widened, as upstream has them.
    wide: bool,
}

impl Conversion {
    /// Plans the conversion of `model`, whose vocabulary is `vocabulary`.
    pub(super) fn plan<R: BufRead + Seek>(
        model: &mut Ct2Model<R>,
        vocabulary: &[String],
    ) -> Result<Self, ConvertError> {
        let [n_vocab, n_text_state] = dims(model, "decoder/embeddings/weight")?;
        let [n_text_ctx, _] = dims(model, "decoder/position_encodings/encodings")?;
        let [n_audio_ctx, n_audio_state] = dims(model, "encoder/position_encodings/encodings")?;
        let [_, n_mels, _] = dims(model, "encoder/conv1/weight")?;
        if n_mels > MAX_MELS {
            return Err(unsupported("the number of mel bands", n_mels, format!("at most {MAX_MELS}")));
        }
        let tokens = vocabulary::plain_tokens(vocabulary, n_vocab)?;
        let mut heads = |side: &str| -> Result<u32, ConvertError> {
            let name = format!("{side}/num_heads");
            u32::try_from(model.integer(&name)?).map_err(|_| ConvertError::Variable(name))
        };
        let (n_audio_head, n_text_head) = (heads("encoder")?, heads("decoder")?);
        let (n_audio_layer, n_text_layer) = (layers(model, "encoder"), layers(model, "decoder"));
        let mut plan = Plan { model, tensors: Vec::new(), zeros: Vec::new() };
        plan.whole("decoder.positional_embedding", "decoder/position_encodings/encodings")?;
        plan.whole("encoder.positional_embedding", "encoder/position_encodings/encodings")?;
        plan.whole("decoder.token_embedding.weight", "decoder/embeddings/weight")?;
        for layer in 0..n_text_layer {
            plan.block("decoder", layer)?;
        }
        plan.layer_norm("decoder.ln", "decoder/layer_norm")?;
        plan.linear("encoder.conv1", "encoder/conv1")?;
        plan.linear("encoder.conv2", "encoder/conv2")?;
        for layer in 0..n_audio_layer {
            plan.block("encoder", layer)?;
        }
        plan.layer_norm("encoder.ln_post", "encoder/layer_norm")?;
        let Plan { tensors, zeros, .. } = plan;
        Ok(Self {
            hparams: [
                n_vocab,
                n_audio_ctx,
                n_audio_state,
                n_audio_head,
                n_audio_layer,
                n_text_ctx,
                n_text_state,
                n_text_head,
                n_text_layer,
                n_mels,
                FILE_TYPE_F16,
            ],
            mels: n_mels as usize,
            tokens,
            tensors,
            zeros,
        })
    }

    /// The exact size of the file that [`write`](Self::write) writes.
    pub(super) fn bytes(&self) -> u64 {
        let header = 4 + 4 * self.hparams.len() + 8 + 4 * self.mels * mel::BINS + 4;
        let tokens: usize = self.tokens.iter().map(|token| 4 + token.len()).sum();
        let tensors: u64 = self.tensors.iter().map(Tensor::bytes).sum();
        (header + tokens) as u64 + tensors
    }

    /// Writes the file. `progress` hears the bytes of tensors written so far and to be written.
    pub(super) fn write<R: BufRead + Seek>(
        &self,
        model: &mut Ct2Model<R>,
        out: &mut impl Write,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ConvertError> {
        for (variable, elements) in &self.zeros {
            model.read_f16(variable, elements.clone(), |piece| {
                // -0.0 is zero too.
                let zero = piece.chunks_exact(2).all(|value| value[0] == 0 && value[1] & 0x7F == 0);
                if zero { Ok(()) } else { Err(ConvertError::Variable(variable.clone())) }
            })?;
        }
        write_u32s(out, &[MAGIC])?;
        write_u32s(out, &self.hparams)?;
        write_u32s(out, &[self.mels as u32, mel::BINS as u32])?;
        for value in mel::filters(self.mels) {
            out.write_all(&value.to_le_bytes())?;
        }
        write_u32s(out, &[self.tokens.len() as u32])?;
        for token in &self.tokens {
            write_u32s(out, &[token.len() as u32])?;
            out.write_all(token)?;
        }
        let total = self.tensors.iter().map(Tensor::bytes).sum();
        let mut done = 0;
        for tensor in &self.tensors {
            tensor.write(model, out)?;
            done += tensor.bytes();
            progress(done, total);
        }
        Ok(())
    }
}

impl Tensor {
    /// As upstream writes it: the number of dimensions, the name's length, the type, the dimensions in reverse, the
    /// name, the values.
    fn write<R: BufRead + Seek>(
        &self,
        model: &mut Ct2Model<R>,
        out: &mut impl Write,
    ) -> Result<(), ConvertError> {
        write_u32s(out, &[self.dims.len() as u32, self.name.len() as u32, u32::from(!self.wide)])?;
        for dim in self.dims.iter().rev() {
            write_u32s(out, &[*dim])?;
        }
        out.write_all(self.name.as_bytes())?;
        model.read_f16(&self.variable, self.elements.clone(), |piece| {
            if !self.wide {
                return Ok(out.write_all(piece)?);
            }
            for value in piece.chunks_exact(2) {
                out.write_all(&f16::from_le_bytes([value[0], value[1]]).to_f32().to_le_bytes())?;
            }
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        let header = 12 + 4 * self.dims.len() + self.name.len();
        header as u64 + (self.elements.end - self.elements.start) * if self.wide { 4 } else { 2 }
    }
}

/// Collects tensors in order.
struct Plan<'a, R> {
    model: &'a Ct2Model<R>,
    tensors: Vec<Tensor>,
    zeros: Vec<(String, Range<u64>)>,
}

impl<R: BufRead + Seek> Plan<'_, R> {
    /// One layer. Both kinds begin alike; the decoder's also listens to the encoder.
    fn block(&mut self, side: &str, layer: u32) -> Result<(), ConvertError> {
        let (to, from) = (format!("{side}.blocks.{layer}"), format!("{side}/layer_{layer}"));
        self.layer_norm(&format!("{to}.mlp_ln"), &format!("{from}/ffn/layer_norm"))?;
        self.linear(&format!("{to}.mlp.0"), &format!("{from}/ffn/linear_0"))?;
        self.linear(&format!("{to}.mlp.2"), &format!("{from}/ffn/linear_1"))?;

        let (to_self, from_self) = (format!("{to}.attn"), format!("{from}/self_attention"));
        self.layer_norm(&format!("{to}.attn_ln"), &format!("{from_self}/layer_norm"))?;
        self.fused(&to_self, &format!("{from_self}/linear_0"), &["query", "key", "value"])?;
        self.linear(&format!("{to_self}.out"), &format!("{from_self}/linear_1"))?;

        if side == "decoder" {
            let (to_cross, from_cross) = (format!("{to}.cross_attn"), format!("{from}/attention"));
            self.layer_norm(&format!("{to}.cross_attn_ln"), &format!("{from_cross}/layer_norm"))?;
            self.linear(&format!("{to_cross}.query"), &format!("{from_cross}/linear_0"))?;
            self.fused(&to_cross, &format!("{from_cross}/linear_1"), &["key", "value"])?;
            self.linear(&format!("{to_cross}.out"), &format!("{from_cross}/linear_2"))?;
        }
        Ok(())
    }

    fn layer_norm(&mut self, to: &str, from: &str) -> Result<(), ConvertError> {
        self.whole(&format!("{to}.weight"), &format!("{from}/gamma"))?;
        self.whole(&format!("{to}.bias"), &format!("{from}/beta"))
    }

    fn linear(&mut self, to: &str, from: &str) -> Result<(), ConvertError> {
        self.whole(&format!("{to}.weight"), &format!("{from}/weight"))?;
        self.whole(&format!("{to}.bias"), &format!("{from}/bias"))
    }

    /// Matrices stacked into one by rows, as `parts`. The key's bias must be zero and is left out.
    fn fused(&mut self, to: &str, from: &str, parts: &[&str]) -> Result<(), ConvertError> {
        let count = parts.len() as u32;
        let bias = format!("{from}/bias");
        for (index, part) in parts.iter().enumerate() {
            self.part(&format!("{to}.{part}.weight"), &format!("{from}/weight"), index as u32, count)?;
            if *part == "key" {
                self.zeros.push((bias.clone(), self.rows(&bias, index as u32, count)?.0));
            } else {
                self.part(&format!("{to}.{part}.bias"), &bias, index as u32, count)?;
            }
        }
        Ok(())
    }

    fn whole(&mut self, name: &str, variable: &str) -> Result<(), ConvertError> {
        self.part(name, variable, 0, 1)
    }

    /// The tensor `name`: part `index` of `count` equal parts of `variable`.
    fn part(&mut self, name: &str, variable: &str, index: u32, count: u32) -> Result<(), ConvertError> {
        let (elements, mut dims) = self.rows(variable, index, count)?;
        let wide = dims.len() < 2 || name.ends_with("positional_embedding");
        // The biases of the convolutions are columns upstream.
        if matches!(name, "encoder.conv1.bias" | "encoder.conv2.bias") {
            dims.push(1);
        }
        self.tensors.push(Tensor {
            name: name.to_owned(),
            variable: variable.to_owned(),
            elements,
            dims,
            wide,
        });
        Ok(())
    }

    fn rows(&self, variable: &str, index: u32, count: u32) -> Result<(Range<u64>, Vec<u32>), ConvertError> {
        let found = self.model.variable(variable)?;
        let mut dims = found.dims.clone();
        match dims.first_mut() {
            Some(rows) if found.kind == Kind::F16 && *rows % count == 0 => *rows /= count,
            _ => return Err(ConvertError::Variable(variable.to_owned())),
        }
        let each = found.elements() / u64::from(count);
        let start = each * u64::from(index);
        Ok((start..start + each, dims))
    }
}

/// The dimensions of a variable that must have `N` of them.
fn dims<const N: usize, R: BufRead + Seek>(
    model: &Ct2Model<R>,
    name: &str,
) -> Result<[u32; N], ConvertError> {
    let dims = &model.variable(name)?.dims;
    dims.as_slice().try_into().map_err(|_| ConvertError::Variable(name.to_owned()))
}

/// How many layers a side has. A gap in their numbers shows as a missing variable later.
fn layers<R: BufRead + Seek>(model: &Ct2Model<R>, side: &str) -> u32 {
    let prefix = format!("{side}/layer_");
    let is_layer = |name: &&str| name.starts_with(&prefix) && name.ends_with("/ffn/layer_norm/gamma");
    model.names().filter(is_layer).count() as u32
}

fn write_u32s(out: &mut impl Write, values: &[u32]) -> Result<(), ConvertError> {
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// `ggml` as whisper.cpp spells it.
const MAGIC: u32 = 0x6767_6D6C;
const FILE_TYPE_F16: u32 = 1;
/// Whisper large-v3 has 128.
const MAX_MELS: u32 = 128;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::{super::ct2::tests::write_model, *};

    /// Width of the synthetic model.
    const STATE: u32 = 2;
    const ENGLISH: u32 = 51_864;

    /// A float16 variable, to be spoilt by a test.
    struct Matrix {
        name: String,
        dims: Vec<u32>,
        values: Vec<u8>,
    }

    /// A model with one layer a side, whose every value is its index in its variable.
    fn synthetic(patch: impl Fn(&mut Matrix)) -> Vec<u8> {
        let mut variables: Vec<(String, Vec<u32>, u8, Vec<u8>)> = Vec::new();
        let mut matrix = |name: &str, dims: &[u32]| {
            let elements: u32 = dims.iter().product();
            let values = (0..elements).flat_map(|n| f16::from_f32((n % 1000) as f32).to_le_bytes()).collect();
            let mut matrix = Matrix { name: name.to_owned(), dims: dims.to_vec(), values };
            patch(&mut matrix);
            variables.push((matrix.name, matrix.dims, 4, matrix.values));
        };
        for side in ["decoder", "encoder"] {
            matrix(&format!("{side}/position_encodings/encodings"), &[3, STATE]);
            for norm in ["layer_norm", "layer_0/ffn/layer_norm", "layer_0/self_attention/layer_norm"] {
                matrix(&format!("{side}/{norm}/gamma"), &[STATE]);
                matrix(&format!("{side}/{norm}/beta"), &[STATE]);
            }
            let linears = [("ffn/linear_0", 4), ("ffn/linear_1", 1), ("self_attention/linear_1", 1)];
            for (linear, rows) in linears {
                matrix(&format!("{side}/layer_0/{linear}/weight"), &[rows * STATE, STATE]);
                matrix(&format!("{side}/layer_0/{linear}/bias"), &[rows * STATE]);
            }
            matrix(&format!("{side}/layer_0/self_attention/linear_0/weight"), &[3 * STATE, STATE]);
            matrix(&format!("{side}/layer_0/self_attention/linear_0/bias"), &[3 * STATE]);
        }
        matrix("decoder/embeddings/weight", &[ENGLISH, STATE]);
        for norm in ["gamma", "beta"] {
            matrix(&format!("decoder/layer_0/attention/layer_norm/{norm}"), &[STATE]);
        }
        for (linear, rows) in [("linear_0", 1), ("linear_1", 2), ("linear_2", 1)] {
            matrix(&format!("decoder/layer_0/attention/{linear}/weight"), &[rows * STATE, STATE]);
            matrix(&format!("decoder/layer_0/attention/{linear}/bias"), &[rows * STATE]);
        }
        for conv in ["conv1", "conv2"] {
            matrix(&format!("encoder/{conv}/weight"), &[STATE, 2, 3]);
            matrix(&format!("encoder/{conv}/bias"), &[STATE]);
        }
        for side in ["decoder", "encoder"] {
            variables.push((format!("{side}/num_heads"), vec![], 2, vec![1, 0]));
        }
        let borrowed: Vec<_> = variables
            .iter()
            .map(|(name, dims, kind, values)| (&name[..], &dims[..], *kind, values.clone()))
            .collect();
        write_model(&borrowed, &[["decoder/projection/weight", "decoder/embeddings/weight"]])
    }

    /// The key's rows of the stacked biases are zero, as in a real model.
    fn zero_keys(Matrix { name, values, .. }: &mut Matrix) {
        let part = 2 * STATE as usize;
        if name.ends_with("self_attention/linear_0/bias") {
            values[part..2 * part].fill(0);
        } else if name.ends_with("/attention/linear_1/bias") {
            values[..part].fill(0);
        }
    }

    fn words() -> Vec<String> {
        let mut words = vec!["a".to_owned(); 50_256];
        words.push("<|endoftext|>".to_owned());
        words
    }

    fn convert(model: &[u8]) -> Result<(Conversion, Vec<u8>), ConvertError> {
        let mut model = Ct2Model::open(Cursor::new(model))?;
        let conversion = Conversion::plan(&mut model, &words())?;
        let mut out = Vec::new();
        conversion.write(&mut model, &mut out, &mut |done, total| assert!(done <= total))?;
        Ok((conversion, out))
    }

    #[test]
    fn the_announced_size_is_the_written_one() {
        let (conversion, out) = convert(&synthetic(zero_keys)).unwrap();
        assert_eq!(out.len() as u64, conversion.bytes());
        assert_eq!(out[..4], *b"lmgg");
        let hparams = [ENGLISH, 3, STATE, 1, 1, 3, STATE, 1, 1, 2, 1];
        assert_eq!(out[4..48], *hparams.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>());
    }

    #[test]
    fn stacked_rows_are_cut_apart() {
        let (conversion, out) = convert(&synthetic(zero_keys)).unwrap();
        let check = |name: &str, dims: &[u32], expected: &[u8]| {
            let tensor = conversion.tensors.iter().find(|tensor| tensor.name == name).unwrap();
            assert_eq!(tensor.dims, dims, "{name}");
            // The name is written right before the values.
            let found: Vec<usize> =
                (0..out.len()).filter(|&at| out[at..].starts_with(name.as_bytes())).collect();
            let at = found.last().unwrap() + name.len();
            assert_eq!(out[at..at + expected.len()], *expected, "{name}");
        };
        let half = |values: &[f32]| -> Vec<u8> {
            values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
        };
        let wide =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        check("encoder.blocks.0.attn.query.weight", &[2, 2], &half(&[0.0, 1.0, 2.0, 3.0]));
        check("encoder.blocks.0.attn.key.weight", &[2, 2], &half(&[4.0, 5.0, 6.0, 7.0]));
        check("encoder.blocks.0.attn.value.weight", &[2, 2], &half(&[8.0, 9.0, 10.0, 11.0]));
        check("encoder.blocks.0.attn.value.bias", &[2], &wide(&[4.0, 5.0]));
        check("decoder.blocks.0.cross_attn.value.bias", &[2], &wide(&[2.0, 3.0]));
        check("encoder.positional_embedding", &[3, 2], &wide(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        check("encoder.conv1.bias", &[2, 1], &wide(&[0.0, 1.0]));
    }

    #[test]
    fn a_model_that_would_lose_something_is_refused() {
        let check = |patch: &dyn Fn(&mut Matrix), expected: &str| {
            let error = convert(&synthetic(patch)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&|_| (), "self_attention/linear_0/bias has an unexpected shape, type or content");
        check(
            &|matrix| {
                zero_keys(matrix);
                if matrix.name == "encoder/layer_0/self_attention/linear_0/weight" {
                    matrix.dims[0] = 5;
                    matrix.values.truncate(5 * 2 * 2);
                }
            },
            "the variable encoder/layer_0/self_attention/linear_0/weight",
        );
        check(
            &|matrix| {
                if matrix.name == "encoder/conv1/weight" {
                    matrix.dims = vec![1, 200, 1];
                    matrix.values.resize(400, 0);
                }
            },
            "the number of mel bands is 200",
        );
    }

    #[test]
    fn a_full_disk_shows_as_such() {
        let model = synthetic(zero_keys);
        let mut model = Ct2Model::open(Cursor::new(&model)).unwrap();
        let conversion = Conversion::plan(&mut model, &words()).unwrap();
        let mut full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = conversion.write(&mut model, &mut full, &mut |_, _| ()).unwrap_err();
        assert!(super::super::SourceError::from(error).is_disk_full());
    }

    proptest! {
        /// Whatever is flipped, the reader neither panics nor writes more than it announced; what the file's names,
        /// counts and sizes say is checked before it is believed.
        #[test]
        fn flipped_bits_do_no_harm(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4)) {
            let mut model = synthetic(zero_keys);
            // Nearly all of the file is the embedding's values; flip outside of them. Before them stand the name's NUL,
            // the rank, two dimensions, the type and the size.
            let values = 2 * (ENGLISH * STATE) as usize;
            let name = b"decoder/embeddings/weight\0";
            let named = model.windows(name.len()).position(|window| window == name).unwrap();
            let start = named + name.len() + 1 + 8 + 1 + 4;
            for (index, bit) in flips {
                let at = index.index(model.len() - values);
                model[if at < start { at } else { at + values }] ^= 1 << bit;
            }
            if let Ok((conversion, out)) = convert(&model) {
                prop_assert_eq!(out.len() as u64, conversion.bytes());
            }
        }
    }
}
