//! Tells whether a file is a whole Whisper model in whisper.cpp's ggml format, by walking its structure.
//!
//! whisper.cpp itself trusts the file: a damaged one makes it throw a C++ exception, which ends the process, and one
//! cut short inside its last tensor loads without a word. Not here: reading weights, or checking their hash (which
//! `models::weights` does when it fetches them).

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read, Result, Seek},
    path::Path,
};

/// Whether the file at `path` is a model from its first byte to its last.
///
/// # Errors
/// When it cannot be read; not for what is in it.
pub(super) fn is_whole_model(path: &Path) -> Result<bool> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    match (Walk { file: BufReader::new(file), length }).walk() {
        // Ended in mid-structure.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        result => result,
    }
}

struct Walk {
    file: BufReader<File>,
    length: u64,
}

impl Walk {
    /// The order of whisper.cpp's `whisper_model_load`.
    fn walk(&mut self) -> Result<bool> {
        if self.number()? != GGML_MAGIC {
            return Ok(false);
        }
        // n_vocab, n_audio_{ctx, state, head, layer}, n_text_{ctx, state, head, layer}, n_mels, ftype
        let mut header = [0; 11];
        for field in &mut header {
            *field = self.number()?;
        }
        let ([vocabulary, sizes @ .., _ftype], audio_layers, text_layers) = (header, header[4], header[8]);
        if !(50_000..60_000).contains(&vocabulary) || sizes.iter().any(|size| !(1..=4096).contains(size)) {
            return Ok(false);
        }
        let (mel_bands, fft_bins) = (u64::from(self.number()?), u64::from(self.number()?));
        self.skip(mel_bands * fft_bins * 4)?;
        let written_tokens = self.number()?;
        if written_tokens > vocabulary {
            return Ok(false);
        }
        for _ in 0..written_tokens {
            let bytes = self.number()?;
            self.skip(bytes.into())?;
        }
        let mut tensors = 0;
        while self.file.stream_position()? < self.length {
            if !self.tensor()? {
                return Ok(false);
            }
            tensors += 1;
        }
        Ok(tensors == TENSORS + TENSORS_PER_AUDIO_LAYER * audio_layers + TENSORS_PER_TEXT_LAYER * text_layers)
    }

    /// One tensor: dimensions, length of its name, type, shape, name, data.
    fn tensor(&mut self) -> Result<bool> {
        let (dimensions, name, kind) = (self.number()?, self.number()?, self.number()?);
        let Some(&(_, block, bytes)) = TYPES.iter().find(|(number, ..)| *number == kind) else {
            return Ok(false);
        };
        if !(1..=4).contains(&dimensions) || name > 256 {
            return Ok(false);
        }
        let mut elements = 1u64;
        for _ in 0..dimensions {
            elements = elements.saturating_mul(self.number()?.into());
        }
        self.skip(u64::from(name))?;
        self.skip((elements / block).saturating_mul(bytes))?;
        Ok(true)
    }

    fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let rest = self.length.saturating_sub(self.file.stream_position()?);
        match i64::try_from(bytes) {
            Ok(offset) if bytes <= rest => self.file.seek_relative(offset),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// "ggml", read as a little-endian number.
const GGML_MAGIC: u32 = 0x6767_6d6c;
/// Seven of the encoder and four of the decoder that belong to no layer.
const TENSORS: u32 = 11;
const TENSORS_PER_AUDIO_LAYER: u32 = 15;
const TENSORS_PER_TEXT_LAYER: u32 = 24;

/// ggml's number of a type, its elements in a block, the block's bytes: f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_K
/// to q6_K.
const TYPES: [(u32, u64, u64); 12] = [
    (0, 1, 4),
    (1, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of one layer each whose tensors hold two numbers.
    fn model() -> Vec<u8> {
        let numbers =
            |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let header = numbers(&[GGML_MAGIC, 51_864, 1500, 8, 1, 1, 448, 8, 1, 1, 80, 1]);
        let filters = numbers(&[1, 2, 0, 0]);
        let tokens = [&numbers(&[2, 1])[..], b"a", &numbers(&[0])].concat();
        let mut file = [header, filters, tokens].concat();
        for _ in 0..11 + 15 + 24 {
            file.extend(numbers(&[1, 4, 1, 2]));
            file.extend(b"name\0\0\0\0");
        }
        file
    }

    #[test]
    fn takes_whole_models_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        let check = |content: &[u8], expected: bool| {
            std::fs::write(&path, content).unwrap();
            assert_eq!(is_whole_model(&path).unwrap(), expected);
        };
        let whole = model();
        check(&whole, true);
        for cut in 0..whole.len() {
            check(&whole[..cut], false);
        }
        check(&[&whole[..], b"x"].concat(), false);
        check(b"<html>404</html>", false);
        for (field, value) in [(1, u32::MAX), (2, 0), (5, 3), (12, u32::MAX), (14 + 2, u32::MAX)] {
            let mut damaged = whole.clone();
            damaged[field * 4..][..4].copy_from_slice(&value.to_le_bytes());
            check(&damaged, false);
        }
        assert!(is_whole_model(&folder.path().join("missing")).is_err());
    }
}
