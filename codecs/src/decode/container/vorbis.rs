//! A bound on what a Vorbis stream's codebooks unpack to, looked at before symphonia builds them: a header of
//! 6 KiB may claim more than 4 GiB of them.
//!
//! Not here: decoding.

use std::io;

use symphonia::core::io::{BitReaderRtl, ReadBitsRtl};

/// Checks the headers that a container gives: the identification header and the setup header. The error is
/// for the end user. What is malformed is left to symphonia, which says so.
pub(super) fn check(headers: &[u8]) -> Result<(), String> {
    let Some(setup) = headers.get(IDENTIFICATION_BYTES..).and_then(|setup| setup.strip_prefix(b"\x05vorbis"))
    else {
        return Ok(());
    };
    match unpacked(setup) {
        Ok(values) if values > MAX_VALUES => Err(format!(
            "This Vorbis stream claims codebooks of {values} numbers, which no encoder writes: it is damaged. Send Opus, \
             or WAV with 16-bit PCM."
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Numbers that the codebooks unpack to, counted up to where they are too many (Vorbis I, section 3.2.1).
fn unpacked(setup: &[u8]) -> io::Result<u64> {
    let mut bits = BitReaderRtl::new(setup);
    let mut values = 0;
    for _ in 0..=bits.read_bits_leq32(8)? {
        if bits.read_bits_leq32(24)? != CODEBOOK_SYNC {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let dimensions = bits.read_bits_leq32(16)?;
        let entries = bits.read_bits_leq32(24)?;
        // A code for each entry too.
        values += u64::from(entries) * (u64::from(dimensions) + 1);
        if values > MAX_VALUES {
            break;
        }
        skip_lengths(&mut bits, entries)?;
        let lookup = bits.read_bits_leq32(4)?;
        let count = match lookup {
            1 => u64::from(lookup_values(entries, dimensions)),
            2 => u64::from(entries) * u64::from(dimensions),
            _ => continue,
        };
        // The smallest value and the step.
        bits.ignore_bits(64)?;
        let value_bits = bits.read_bits_leq32(4)? + 1;
        bits.ignore_bits(1)?;
        for _ in 0..count {
            bits.ignore_bits(value_bits)?;
        }
    }
    Ok(values)
}

/// Reads past the lengths of the codes.
fn skip_lengths(bits: &mut BitReaderRtl<'_>, entries: u32) -> io::Result<()> {
    if bits.read_bool()? {
        // Ordered: how many of each length.
        bits.ignore_bits(5)?;
        let mut left = entries;
        while left > 0 {
            let run = bits.read_bits_leq32(u32::BITS - left.leading_zeros())?;
            left = left.checked_sub(run).ok_or(io::ErrorKind::InvalidData)?;
        }
        return Ok(());
    }
    let sparse = bits.read_bool()?;
    for _ in 0..entries {
        if !sparse || bits.read_bool()? {
            bits.ignore_bits(5)?;
        }
    }
    Ok(())
}

/// The largest number whose power of `dimensions` is not more than `entries` (Vorbis I, section 9.2.3).
fn lookup_values(entries: u32, dimensions: u32) -> u32 {
    let fits = |base: u32| {
        let power = (0..dimensions).try_fold(1u64, |power, _| {
            Some(power * u64::from(base)).filter(|power| *power <= u64::from(entries))
        });
        power.is_some()
    };
    (2..=entries).take_while(|base| fits(*base)).last().unwrap_or(1)
}

/// Type, "vorbis" and 23 bytes (Vorbis I, section 4.2.2).
const IDENTIFICATION_BYTES: usize = 30;

const CODEBOOK_SYNC: u32 = 0x56_43_42;

/// 8 MiB of memory. The codebooks of libvorbis have 20,000 to 80,000 numbers.
const MAX_VALUES: u64 = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A setup header of one ordered codebook whose codes all have one length.
    fn setup(dimensions: u64, entries: u64) -> Vec<u8> {
        let mut bits = Vec::new();
        let mut put = |value: u64, count: u32| bits.extend((0..count).map(|n| value >> n & 1 == 1));
        put(0, 8);
        put(u64::from(CODEBOOK_SYNC), 24);
        put(dimensions, 16);
        put(entries, 24);
        put(1, 1);
        put(20, 5);
        put(entries, u64::BITS - entries.leading_zeros());
        put(0, 4);
        let bytes =
            bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
        bytes.collect()
    }

    #[test]
    fn codebooks_are_counted_before_they_are_built() {
        assert_eq!(unpacked(&setup(4, 81)).unwrap(), 405);
        let headers =
            |setup: Vec<u8>| [vec![0; IDENTIFICATION_BYTES], b"\x05vorbis".to_vec(), setup].concat();
        assert_eq!(check(&headers(setup(4, 81))), Ok(()));
        let error = check(&headers(setup(65_535, 131_072))).unwrap_err();
        assert!(error.contains("8589934592 numbers"), "{error}");
        // Left to symphonia.
        assert_eq!(check(b"short"), Ok(()));
        assert_eq!(check(&headers(vec![0xff; 9])), Ok(()));
    }

    #[test]
    fn lookup_values_are_the_largest_root() {
        let check = |entries, dimensions, expected| assert_eq!(lookup_values(entries, dimensions), expected);
        check(81, 4, 3);
        check(80, 4, 2);
        check(625, 4, 5);
        check(7, 1, 7);
        check(1, 3, 1);
    }
}
