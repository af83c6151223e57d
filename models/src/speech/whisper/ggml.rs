//! Reads a Whisper model in whisper.cpp's ggml format, which is the form in which weights are pinned and kept.
//!
//! The whole structure is walked, and every size in it checked against the file, before a value is read: a file that is
//! cut short or damaged is no model. Not here: the hash of the file (`models::weights` checks it when it fetches one).

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Error, ErrorKind, Read, Result, Seek, SeekFrom},
    path::Path,
};

use half::f16;

/// An open model: its table of contents is in memory, its values are not.
#[derive(Debug)]
pub(super) struct GgmlModel {
    file: BufReader<File>,
    pub(super) sizes: Sizes,
    /// Mel filters: `sizes.mels` bands of [`FFT_BINS`] weights each.
    pub(super) filters: Vec<f32>,
    /// The bytes of each plain token, by id.
    pub(super) tokens: Vec<Vec<u8>>,
    tensors: HashMap<String, Tensor>,
}

/// The model's hyperparameters that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) vocabulary: u32,
    pub(super) audio_context: u32,
    pub(super) audio_heads: u32,
    pub(super) audio_layers: u32,
    pub(super) text_context: u32,
    pub(super) text_heads: u32,
    pub(super) text_layers: u32,
    pub(super) mels: u32,
}

#[derive(Debug)]
struct Tensor {
    /// Row-major, slowest first.
    dims: Vec<u32>,
    wide: bool,
    elements: u64,
    offset: u64,
}

impl GgmlModel {
    /// Opens the file at `path`; `None` when it is no whole model of f16 or f32 values.
    ///
    /// # Errors
    /// When the file cannot be read; not for what is in it.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        match (Walk { file: BufReader::new(file), length }).walk() {
            // Ended in mid-structure.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            result => result,
        }
    }

    /// The dimensions of the tensor `name`, slowest first.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub(super) fn dims(&self, name: &str) -> Result<&[u32]> {
        Ok(&self.tensor(name)?.dims)
    }

    /// Appends the values of the tensor `name` to `out` as little-endian f16.
    ///
    /// # Errors
    /// When there is no such tensor, or the file cannot be read.
    pub(super) fn read_f16(&mut self, name: &str, out: &mut Vec<u8>) -> Result<()> {
        let Tensor { wide, elements, offset, .. } = *self.tensor(name)?;
        self.file.seek(SeekFrom::Start(offset))?;
        let mut values = self.file.by_ref().take(elements * if wide { 4 } else { 2 });
        if !wide {
            return values.read_to_end(out).map(|_| ());
        }
        let mut bytes = Vec::new();
        values.read_to_end(&mut bytes)?;
        for value in bytes.as_chunks::<4>().0 {
            // The published wide tensors are widened f16, so nothing is rounded.
            out.extend(f16::from_f32(f32::from_le_bytes(*value)).to_le_bytes());
        }
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("no tensor {name}")))
    }
}

struct Walk {
    file: BufReader<File>,
    length: u64,
}

impl Walk {
    /// The order of whisper.cpp's `whisper_model_load`.
    fn walk(mut self) -> Result<Option<GgmlModel>> {
        if self.number()? != GGML_MAGIC {
            return Ok(None);
        }
        // n_vocab, n_audio_{ctx, state, head, layer}, n_text_{ctx, state, head, layer}, n_mels, ftype
        let mut header = [0; 11];
        for field in &mut header {
            *field = self.number()?;
        }
        let ([vocabulary, numbers @ .., _ftype], audio_layers, text_layers) = (header, header[4], header[8]);
        if !(51_864..60_000).contains(&vocabulary)
            || numbers.iter().any(|number| !(1..=4096).contains(number))
        {
            return Ok(None);
        }
        // Room for the longest prompt there is.
        if header[5] < 448 {
            return Ok(None);
        }
        let sizes = Sizes {
            vocabulary,
            audio_context: header[1],
            audio_heads: header[3],
            audio_layers,
            text_context: header[5],
            text_heads: header[7],
            text_layers,
            mels: header[9],
        };
        if (self.number()?, self.number()?) != (sizes.mels, FFT_BINS as u32) {
            return Ok(None);
        }
        let filters = self.bytes(sizes.mels * FFT_BINS as u32 * 4)?;
        let filters = filters.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let written_tokens = self.number()?;
        if written_tokens > vocabulary {
            return Ok(None);
        }
        let mut tokens = Vec::new();
        for _ in 0..written_tokens {
            let bytes = self.number()?;
            tokens.push(self.bytes(bytes)?);
        }
        let mut tensors = HashMap::new();
        while self.file.stream_position()? < self.length {
            let Some((name, tensor)) = self.tensor()? else { return Ok(None) };
            tensors.insert(name, tensor);
        }
        let expected =
            TENSORS + TENSORS_PER_AUDIO_LAYER * audio_layers + TENSORS_PER_TEXT_LAYER * text_layers;
        let whole = tensors.len() == expected as usize;
        Ok(whole.then_some(GgmlModel { file: self.file, sizes, filters, tokens, tensors }))
    }

    /// One tensor: dimensions, length of its name, type, shape (fastest first), name, data.
    fn tensor(&mut self) -> Result<Option<(String, Tensor)>> {
        let (dimensions, name, kind) = (self.number()?, self.number()?, self.number()?);
        if !(1..=4).contains(&dimensions) || name > MAX_NAME_BYTES || kind > F16 {
            return Ok(None);
        }
        let mut dims = (0..dimensions).map(|_| self.number()).collect::<Result<Vec<u32>>>()?;
        dims.reverse();
        let elements = dims.iter().fold(1u64, |elements, dim| elements.saturating_mul((*dim).into()));
        let Ok(name) = String::from_utf8(self.bytes(name)?) else { return Ok(None) };
        let (wide, offset) = (kind != F16, self.file.stream_position()?);
        let bytes = elements.saturating_mul(if wide { 4 } else { 2 });
        self.check(bytes)?;
        self.file.seek_relative(bytes.try_into().expect("no longer than the file"))?;
        Ok(Some((name, Tensor { dims, wide, elements, offset })))
    }

    fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn bytes(&mut self, count: u32) -> Result<Vec<u8>> {
        self.check(count.into())?;
        let mut bytes = vec![0; count as usize];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether `bytes` more are in the file.
    fn check(&mut self, bytes: u64) -> Result<()> {
        let rest = self.length.saturating_sub(self.file.stream_position()?);
        if bytes <= rest { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

/// Bins of the spectrum that the mel filters weigh: those of a 400-point FFT from 0 Hz to half the sample rate.
pub(super) const FFT_BINS: usize = 201;
/// "ggml", read as a little-endian number.
const GGML_MAGIC: u32 = 0x6767_6d6c;
/// ggml's number of the type f16; 0 is f32, and all others are quantised.
const F16: u32 = 1;
const MAX_NAME_BYTES: u32 = 256;
/// Seven of the encoder and four of the decoder that belong to no layer.
const TENSORS: u32 = 11;
const TENSORS_PER_AUDIO_LAYER: u32 = 15;
const TENSORS_PER_TEXT_LAYER: u32 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of one layer each whose tensors hold two numbers, the first half of them wide.
    fn model() -> Vec<u8> {
        let numbers =
            |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let header = numbers(&[GGML_MAGIC, 51_864, 1500, 8, 1, 1, 448, 8, 1, 1, 1, 1]);
        let filters = [&numbers(&[1, FFT_BINS as u32])[..], &1f32.to_le_bytes().repeat(FFT_BINS)].concat();
        let tokens = [&numbers(&[2, 1])[..], b"a", &numbers(&[0])].concat();
        let mut file = [header, filters, tokens].concat();
        for tensor in 0..11 + 15 + 24u32 {
            let wide = tensor < 25;
            file.extend(numbers(&[1, 2, u32::from(!wide), 2]));
            file.extend(format!("{tensor:02}").bytes());
            let values = [1.5f32, -2.0];
            match wide {
                true => file.extend(values.iter().flat_map(|value| value.to_le_bytes())),
                false => file.extend(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
            }
        }
        file
    }

    fn open(content: &[u8]) -> Option<GgmlModel> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        GgmlModel::open(file.path()).unwrap()
    }

    #[test]
    fn reads_what_is_there() {
        let mut model = open(&model()).unwrap();
        assert_eq!((model.sizes.audio_context, model.sizes.mels), (1500, 1));
        assert_eq!((model.filters.len(), &model.tokens[..]), (FFT_BINS, &[b"a".to_vec(), vec![]][..]));
        assert_eq!(model.dims("07").unwrap(), [2]);
        let half: Vec<u8> = [1.5, -2.0].iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        for name in ["07", "42"] {
            let mut values = Vec::new();
            model.read_f16(name, &mut values).unwrap();
            assert_eq!(values, half, "{name}");
        }
        assert!(model.read_f16("nobody", &mut Vec::new()).is_err());
    }

    #[test]
    fn takes_whole_models_only() {
        let whole = model();
        for cut in 0..whole.len() {
            assert!(open(&whole[..cut]).is_none(), "{cut} of {} bytes", whole.len());
        }
        assert!(open(&[&whole[..], b"x"].concat()).is_none());
        assert!(open(b"<html>404</html>").is_none());
        let after_filters = 14 + FFT_BINS;
        for (field, value) in
            [(1, u32::MAX), (2, 0), (5, 3), (12, u32::MAX), (13, 200), (after_filters, u32::MAX)]
        {
            let mut damaged = whole.clone();
            damaged[field * 4..][..4].copy_from_slice(&value.to_le_bytes());
            assert!(open(&damaged).is_none(), "field {field}");
        }
        assert!(GgmlModel::open(Path::new("/nowhere/missing")).is_err());
    }
}
