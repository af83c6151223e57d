//! Reads a Whisper model of CTranslate2 (`model.bin`, binary versions 4 to 6).
//!
//! Not here: other models of CTranslate2, or running any. Only the table of contents is kept in memory; values are
//! read in pieces. Every count and size in the file is checked before anything is allocated for it.

use std::{
    collections::HashMap,
    io::{BufRead, ErrorKind, Seek, SeekFrom},
    ops::Range,
};

use super::ConvertError;

/// An open model.
#[derive(Debug)]
pub(super) struct Ct2Model<R> {
    reader: R,
    variables: HashMap<String, Variable>,
}

/// Where one variable lies, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// Row-major; no dimension is zero; empty for a scalar.
    pub(super) dims: Vec<u32>,
    pub(super) kind: Kind,
    offset: u64,
}

/// The types of CTranslate2's `DataType`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    I8,
    I16,
    I32,
    F16,
    Bf16,
}

impl<R: BufRead + Seek> Ct2Model<R> {
    /// Reads the table of contents. The layout is that of `Model::load` in CTranslate2's `src/models/model.cc`; all
    /// numbers are little-endian, and the length of a string counts its final NUL.
    pub(super) fn open(mut reader: R) -> Result<Self, ConvertError> {
        let length = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        let mut contents = Contents { reader: &mut reader, at: 0, length };

        let version = contents.u32()?;
        if !(4..=6).contains(&version) {
            return Err(unsupported("the binary version", version, "4 to 6"));
        }
        let (spec, revision) = (contents.string()?, contents.u32()?);
        if spec != "WhisperSpec" || revision != 3 {
            return Err(unsupported("the model", format!("{spec} {revision}"), "WhisperSpec 3"));
        }
        let mut variables = HashMap::new();
        for _ in 0..contents.count()? {
            let (name, variable) = contents.variable()?;
            variables.insert(name, variable);
        }
        for _ in 0..contents.count()? {
            let (alias, target) = (contents.string()?, contents.string()?);
            let variable = variables.get(&target).cloned().ok_or(ConvertError::Missing(target))?;
            variables.insert(alias, variable);
        }
        if contents.at != length {
            return Err(unsupported("the file's length", length, contents.at));
        }
        Ok(Self { reader, variables })
    }

    /// The variable called `name`.
    pub(super) fn variable(&self, name: &str) -> Result<&Variable, ConvertError> {
        self.variables.get(name).ok_or_else(|| ConvertError::Missing(name.to_owned()))
    }

    /// The names of all variables, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }

    /// The value of the integer scalar `name`.
    pub(super) fn integer(&mut self, name: &str) -> Result<i32, ConvertError> {
        let variable = self.variable(name)?.clone();
        if !variable.dims.is_empty() {
            return Err(ConvertError::Variable(name.to_owned()));
        }
        self.reader.seek(SeekFrom::Start(variable.offset))?;
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes[..variable.kind.bytes() as usize])?;
        match variable.kind {
            Kind::I8 => Ok(i32::from(i8::from_le_bytes([bytes[0]]))),
            Kind::I16 => Ok(i32::from(i16::from_le_bytes([bytes[0], bytes[1]]))),
            Kind::I32 => Ok(i32::from_le_bytes(bytes)),
            Kind::F32 | Kind::F16 | Kind::Bf16 => Err(ConvertError::Variable(name.to_owned())),
        }
    }

    /// Hands the elements `range` of the float16 variable `name` to `take`, little-endian, in pieces of at most
    /// [`PIECE_BYTES`], always whole elements.
    pub(super) fn read_f16<E: From<ConvertError>>(
        &mut self,
        name: &str,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let variable = self.variable(name)?;
        if variable.kind != Kind::F16 || range.start > range.end || range.end > variable.elements() {
            return Err(ConvertError::Variable(name.to_owned()).into());
        }
        let start = variable.offset + range.start * 2;
        let mut left = (range.end - range.start) * 2;
        self.reader.seek(SeekFrom::Start(start)).map_err(ConvertError::Io)?;
        let mut piece = [0; PIECE_BYTES];
        while left > 0 {
            let bytes = left.min(PIECE_BYTES as u64) as usize;
            self.reader.read_exact(&mut piece[..bytes]).map_err(ConvertError::Io)?;
            take(&piece[..bytes])?;
            left -= bytes as u64;
        }
        Ok(())
    }
}

impl Variable {
    /// How many elements it has. Fits: their bytes lie in the file.
    pub(super) fn elements(&self) -> u64 {
        self.dims.iter().map(|&dim| u64::from(dim)).product()
    }
}

impl Kind {
    fn bytes(self) -> u64 {
        match self {
            Self::I8 => 1,
            Self::I16 | Self::F16 | Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
        }
    }
}

/// Reads the table of contents, knowing where it is in the file.
struct Contents<'a, R> {
    reader: &'a mut R,
    at: u64,
    length: u64,
}

impl<R: BufRead + Seek> Contents<'_, R> {
    fn variable(&mut self) -> Result<(String, Variable), ConvertError> {
        let name = self.string()?;
        let [rank] = self.bytes()?;
        if rank > MAX_RANK {
            return Err(unsupported("the rank of a variable", rank, format!("at most {MAX_RANK}")));
        }
        let dims = (0..rank).map(|_| self.u32()).collect::<Result<Vec<u32>, _>>()?;
        let [kind] = self.bytes()?;
        let kind = match kind {
            0 => Kind::F32,
            1 => Kind::I8,
            2 => Kind::I16,
            3 => Kind::I32,
            4 => Kind::F16,
            5 => Kind::Bf16,
            _ => return Err(unsupported("the type of a variable", kind, "0 to 5")),
        };
        let bytes = u64::from(self.u32()?);
        let product = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(u64::from(dim)));
        if product.and_then(|elements| elements.checked_mul(kind.bytes())) != Some(bytes) || bytes == 0 {
            return Err(ConvertError::Variable(name));
        }
        let offset = self.at;
        self.skip(bytes)?;
        Ok((name, Variable { dims, kind, offset }))
    }

    fn count(&mut self) -> Result<u32, ConvertError> {
        let count = self.u32()?;
        if count > MAX_VARIABLES {
            return Err(unsupported("the number of variables", count, format!("at most {MAX_VARIABLES}")));
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String, ConvertError> {
        let length = u16::from_le_bytes(self.bytes()?);
        if !(1..=MAX_NAME_BYTES).contains(&length) {
            return Err(unsupported("the length of a name", length, format!("1 to {MAX_NAME_BYTES}")));
        }
        let mut text = vec![0; usize::from(length)];
        self.fill(&mut text)?;
        let nul = text.pop();
        match String::from_utf8(text) {
            Ok(text) if nul == Some(0) => Ok(text),
            _ => Err(unsupported("a name", "not NUL-terminated UTF-8", "a name")),
        }
    }

    fn u32(&mut self) -> Result<u32, ConvertError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ConvertError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ConvertError> {
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => ConvertError::CutShort(self.length),
            _ => error.into(),
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ConvertError> {
        // No overflow: `at` lies in the file and `bytes` came from a u32.
        self.at += bytes;
        if self.at > self.length {
            return Err(ConvertError::CutShort(self.length));
        }
        self.reader.seek(SeekFrom::Start(self.at))?;
        Ok(())
    }
}

pub(super) fn unsupported(what: &'static str, found: impl ToString, expected: impl ToString) -> ConvertError {
    ConvertError::Unsupported { what, found: found.to_string(), expected: expected.to_string() }
}

/// Even, so that a piece holds whole elements.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// Whisper large has about 700.
const MAX_VARIABLES: u32 = 4096;
const MAX_NAME_BYTES: u16 = 256;
const MAX_RANK: u8 = 4;

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use super::*;

    /// Writes a model: the counterpart of [`Ct2Model::open`], for tests.
    pub(in crate::weights) fn write_model(
        variables: &[(&str, &[u32], u8, Vec<u8>)],
        aliases: &[[&str; 2]],
    ) -> Vec<u8> {
        let string = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u16 + 1).to_le_bytes());
            out.extend(text.as_bytes());
            out.push(0);
        };
        let mut out = 6_u32.to_le_bytes().to_vec();
        string(&mut out, "WhisperSpec");
        out.extend(3_u32.to_le_bytes());
        out.extend((variables.len() as u32).to_le_bytes());
        for (name, dims, kind, values) in variables {
            string(&mut out, name);
            out.push(dims.len() as u8);
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.push(*kind);
            out.extend((values.len() as u32).to_le_bytes());
            out.extend(values);
        }
        out.extend((aliases.len() as u32).to_le_bytes());
        for [alias, target] in aliases {
            string(&mut out, alias);
            string(&mut out, target);
        }
        out
    }

    fn small() -> Vec<u8> {
        let values = (0..6_u16).flat_map(u16::to_le_bytes).collect();
        let variables: &[(&str, &[u32], u8, Vec<u8>)] =
            &[("heads", &[], 2, vec![6, 0]), ("minus", &[], 1, vec![0xFF]), ("matrix", &[2, 3], 4, values)];
        write_model(variables, &[["alias", "matrix"]])
    }

    fn open(bytes: &[u8]) -> Result<Ct2Model<Cursor<&[u8]>>, ConvertError> {
        Ct2Model::open(Cursor::new(bytes))
    }

    #[test]
    fn reads_back_what_was_written() {
        let bytes = small();
        let mut model = open(&bytes).unwrap();
        assert_eq!(model.integer("heads").unwrap(), 6);
        assert_eq!(model.integer("minus").unwrap(), -1);
        assert_eq!(model.variable("alias").unwrap(), model.variable("matrix").unwrap());
        assert_eq!(model.variable("matrix").unwrap().dims, [2, 3]);
        let mut read = Vec::new();
        let mut take = |piece: &[u8]| -> Result<(), ConvertError> {
            read.extend_from_slice(piece);
            Ok(())
        };
        model.read_f16("alias", 1..4, &mut take).unwrap();
        assert_eq!(read, [1, 0, 2, 0, 3, 0]);
    }

    #[test]
    fn wrong_use_is_an_error() {
        let bytes = small();
        let mut model = open(&bytes).unwrap();
        assert!(matches!(model.integer("matrix"), Err(ConvertError::Variable(_))));
        assert!(matches!(model.integer("nobody"), Err(ConvertError::Missing(_))));
        let ignore = |_: &[u8]| -> Result<(), ConvertError> { Ok(()) };
        assert!(matches!(model.read_f16("matrix", 0..7, ignore), Err(ConvertError::Variable(_))));
        assert!(matches!(model.read_f16("heads", 0..1, ignore), Err(ConvertError::Variable(_))));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = small();
        for length in 0..bytes.len() {
            assert!(open(&bytes[..length]).is_err(), "{length} of {} bytes were accepted", bytes.len());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(open(&longer), Err(ConvertError::Unsupported { what: "the file's length", .. })));
    }

    #[test]
    fn absurd_announcements_are_errors() {
        let check = |offset: usize, patch: &[u8], expected: &str| {
            let mut bytes = small();
            bytes[offset..offset + patch.len()].copy_from_slice(patch);
            let error = open(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(0, &[7], "the binary version is 7");
        check(0, &[3], "the binary version is 3");
        check(4, &[0xFF, 0xFF], "the length of a name is 65535");
        check(4, &[0, 0], "the length of a name is 0");
        check(6, b"w", "the model is whisperSpec 3");
        check(18, &[4], "the model is WhisperSpec 4");
        check(22, &[0xFF; 4], "the number of variables is 4294967295");
        // The first variable: name at 26, rank at 34, type at 35, bytes at 36.
        check(34, &[9], "the rank of a variable is 9");
        check(35, &[6], "the type of a variable is 6");
        check(36, &[0xFF; 4], "the variable heads has an unexpected shape");
    }

    #[test]
    fn sizes_that_agree_with_each_other_but_not_with_the_file_are_errors() {
        let huge = write_model(&[("huge", &[0x4000_0000], 1, vec![])], &[]);
        let mut bytes = huge.clone();
        let announced = bytes.len() - 8;
        bytes[announced..announced + 4].copy_from_slice(&0x4000_0000_u32.to_le_bytes());
        assert!(matches!(open(&bytes), Err(ConvertError::CutShort(_))));
        // A product that overflows 64 bits, and one that is zero.
        for dims in [[u32::MAX; 4], [0, u32::MAX, u32::MAX, u32::MAX]] {
            assert!(matches!(
                open(&write_model(&[("v", &dims, 4, vec![])], &[])),
                Err(ConvertError::Variable(_))
            ));
        }
        assert!(matches!(open(&write_model(&[], &[["a", "b"]])), Err(ConvertError::Missing(_))));
    }
}
