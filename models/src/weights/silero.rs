//! Writes Silero's TorchScript voice-activity module as whisper.cpp's ggml file, byte for byte the upstream one.
//!
//! Not here: a reader of TorchScript. The module is a zip of raw f32 tensors; which one is which was found once, by
//! comparing values with the upstream file, and the pinned hashes of the package and of the result keep it so.

use std::{io::Write, path::Path};

use half::f16;

use super::{SourceError, archive, ct2::unsupported};

/// Converts the 16 kHz model in the TorchScript file `module`. The result is 0.9 MB, built in memory.
pub(super) fn write_silero(module: &Path, out: &mut impl Write) -> Result<(), SourceError> {
    let mut file = header();
    for tensor in &TENSORS {
        let mut values = Vec::new();
        let member = format!("{DATA_FOLDER}/{}", tensor.member);
        archive::take_from_zip(module, &member, &mut values, &mut |_, _| ())?;
        tensor.append(&values, &mut file)?;
    }
    out.write_all(&file).map_err(SourceError::io("write the conversion of", module))
}

/// One tensor of the ggml file.
struct Tensor {
    /// Its number in the module.
    member: u8,
    name: &'static str,
    /// As the file has them, fastest first.
    dims: &'static [u32],
    /// Stored as float16, not float32.
    half: bool,
}

impl Tensor {
    fn append(&self, values: &[u8], file: &mut Vec<u8>) -> Result<(), SourceError> {
        let expected = 4 * self.dims.iter().product::<u32>() as usize;
        if values.len() != expected {
            return Err(unsupported("the size of a tensor", values.len(), expected).into());
        }
        put(file, &[self.dims.len() as u32, self.name.len() as u32, u32::from(self.half)]);
        put(file, self.dims);
        file.extend(self.name.as_bytes());
        if self.half {
            for value in values.chunks_exact(4) {
                let value = f32::from_le_bytes([value[0], value[1], value[2], value[3]]);
                file.extend(f16::from_f32(value).to_le_bytes());
            }
        } else {
            file.extend(values);
        }
        Ok(())
    }
}

/// As whisper.cpp's `convert-silero-vad-to-ggml.py` writes it.
fn header() -> Vec<u8> {
    let mut file = Vec::new();
    put(&mut file, &[MAGIC, MODEL_TYPE.len() as u32]);
    file.extend(MODEL_TYPE);
    put(&mut file, &VERSION);
    // Window and context in samples, encoder layers.
    put(&mut file, &[512, 64, 4]);
    // The convolutions: channels in, channels out, kernel.
    put(&mut file, &[129, 128, 3, 128, 64, 3, 64, 64, 3, 64, 128, 3]);
    // The recurrent cell: input, hidden. The last convolution: channels in, channels out.
    put(&mut file, &[128, 128, 128, 1]);
    file
}

fn put(file: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| file.extend(value.to_le_bytes()));
}

/// `ggml` as whisper.cpp spells it.
const MAGIC: u32 = 0x6767_6D6C;
const MODEL_TYPE: &[u8] = b"silero-16k";
const VERSION: [u32; 3] = [6, 2, 0];
/// The module's own name for itself, in version 6.2.0 of the package.
const DATA_FOLDER: &str = "VADr_v6_10_25_noths_re/data";
#[rustfmt::skip]
const TENSORS: [Tensor; 15] = [
    Tensor { member: 3, name: "_model.encoder.0.reparam_conv.weight", dims: &[3, 129, 128], half: true },
    Tensor { member: 4, name: "_model.encoder.0.reparam_conv.bias", dims: &[128], half: false },
    Tensor { member: 5, name: "_model.encoder.1.reparam_conv.weight", dims: &[3, 128, 64], half: true },
    Tensor { member: 6, name: "_model.encoder.1.reparam_conv.bias", dims: &[64], half: false },
    Tensor { member: 7, name: "_model.encoder.2.reparam_conv.weight", dims: &[3, 64, 64], half: true },
    Tensor { member: 8, name: "_model.encoder.2.reparam_conv.bias", dims: &[64], half: false },
    Tensor { member: 9, name: "_model.encoder.3.reparam_conv.weight", dims: &[3, 64, 128], half: true },
    Tensor { member: 10, name: "_model.encoder.3.reparam_conv.bias", dims: &[128], half: false },
    Tensor { member: 11, name: "_model.decoder.rnn.weight_ih", dims: &[128, 512], half: false },
    Tensor { member: 12, name: "_model.decoder.rnn.weight_hh", dims: &[128, 512], half: false },
    Tensor { member: 13, name: "_model.decoder.rnn.bias_ih", dims: &[512], half: false },
    Tensor { member: 14, name: "_model.decoder.rnn.bias_hh", dims: &[512], half: false },
    Tensor { member: 15, name: "_model.decoder.decoder.2.weight", dims: &[128], half: true },
    Tensor { member: 16, name: "_model.decoder.decoder.2.bias", dims: &[], half: false },
    Tensor { member: 2, name: "_model.stft.forward_basis_buffer", dims: &[256, 1, 258], half: true },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_another_size_is_refused() {
        let tensor = Tensor { member: 0, name: "t", dims: &[2, 3], half: true };
        let mut file = Vec::new();
        tensor.append(&[0; 24], &mut file).unwrap();
        assert_eq!(file.len(), 12 + 8 + 1 + 12);
        for bytes in [0, 23, 25] {
            assert!(matches!(tensor.append(&vec![0; bytes], &mut file), Err(SourceError::Convert(_))));
        }
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not a zip").unwrap();
        let mut out = Vec::new();
        let error = write_silero(file.path(), &mut out).unwrap_err();
        assert!(matches!(error, SourceError::Archive { .. }) && out.is_empty(), "{error}");
    }
}
