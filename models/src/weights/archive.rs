//! Takes single files out of package archives: `.tgz` (npm) and zip (Python wheels, TorchScript).
//!
//! Not here: unpacking whole archives. No path of an archive is ever used as a path on the disk, so none can escape.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use flate2::read::GzDecoder;

use super::SourceError;

/// Appends the file `member` of the gzipped tar `archive` to `out`. `progress` hears bytes written and to be written.
pub(super) fn take_from_tgz(
    archive: &Path,
    member: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), SourceError> {
    let unreadable = |error: io::Error| broken(member, error);
    let file = File::open(archive).map_err(SourceError::io("open", archive))?;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if *entry.path_bytes() == *member.as_bytes() {
            let bytes = entry.size();
            return copy(entry, bytes, member, out, progress);
        }
    }
    Err(broken(member, "no such file in it"))
}

/// Appends the file `member` of the zip `archive` to `out`. `progress` hears bytes written and to be written.
pub(super) fn take_from_zip(
    archive: &Path,
    member: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), SourceError> {
    let file = File::open(archive).map_err(SourceError::io("open", archive))?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| broken(member, error))?;
    let entry = zip.by_name(member).map_err(|error| broken(member, error))?;
    let bytes = entry.size();
    copy(entry, bytes, member, out, progress)
}

/// Copies exactly `bytes` bytes. Neither a larger member than announced nor one beyond the limit is written out.
fn copy(
    mut from: impl Read,
    bytes: u64,
    member: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), SourceError> {
    if bytes > MAX_MEMBER_BYTES {
        return Err(broken(member, format!("it has {bytes} bytes, more than {MAX_MEMBER_BYTES}")));
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(member, error)),
        };
        done += read as u64;
        if done > bytes {
            break;
        }
        out.write_all(&buffer[..read]).map_err(SourceError::io("write", member))?;
        progress(done, bytes);
    }
    if done == bytes { Ok(()) } else { Err(broken(member, format!("its size is not the announced {bytes}"))) }
}

fn broken(member: &str, reason: impl ToString) -> SourceError {
    SourceError::Archive { member: member.to_owned(), reason: reason.to_string() }
}

const CHUNK_BYTES: usize = 256 * 1024;
/// Well above every member in the catalogue (at most 148 MB).
const MAX_MEMBER_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn tgz(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in members {
            zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    type Take = fn(&Path, &str, &mut dyn Write, &mut dyn FnMut(u64, u64)) -> Result<(), SourceError>;
    type Pack = fn(&[(&str, &[u8])]) -> Vec<u8>;
    const KINDS: [(Pack, Take); 2] = [(tgz, take_from_tgz), (zip, take_from_zip)];

    fn take(archive: &[u8], member: &str, take: Take) -> Result<Vec<u8>, SourceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), archive).unwrap();
        let mut out = b"before ".to_vec();
        take(file.path(), member, &mut out, &mut |done, total| assert!(done <= total)).map(|()| out)
    }

    #[test]
    fn the_member_is_appended() {
        for (pack, from) in KINDS {
            let archive = pack(&[("a/other", b"other"), ("a/wanted", b"wanted"), ("z", b"")]);
            assert_eq!(take(&archive, "a/wanted", from).unwrap(), b"before wanted");
            assert_eq!(take(&archive, "z", from).unwrap(), b"before ");
        }
    }

    #[test]
    fn a_missing_member_is_named() {
        for (pack, from) in KINDS {
            let error = take(&pack(&[("a", b"a")]), "b/c", from).unwrap_err();
            assert!(matches!(&error, SourceError::Archive { member, .. } if member == "b/c"), "{error}");
        }
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let content: Vec<u8> =
            (0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for (pack, from) in KINDS {
            let archive = pack(&[("a", &content)]);
            for cut in [0, 1, 20, archive.len() / 2] {
                assert!(take(&archive[..cut], "a", from).is_err(), "cut at {cut}");
            }
            let mut flipped = archive.clone();
            flipped[archive.len() / 2] ^= 1;
            // The zip's own checksum finds the flip; gzip's lies at its very end, which is not read: there the
            // pinned hash of the package decides, before extraction.
            if let Ok(out) = take(&flipped, "a", from) {
                assert_eq!(out.len(), b"before ".len() + content.len());
            }
        }
    }

    #[test]
    fn a_member_beyond_the_limit_is_refused_before_anything_is_written() {
        let mut out = Vec::new();
        let error = copy(io::repeat(0), MAX_MEMBER_BYTES + 1, "a", &mut out, &mut |_, _| ()).unwrap_err();
        assert!(matches!(error, SourceError::Archive { .. }) && out.is_empty(), "{error}");
        // And one that goes on beyond its announced size ends with it.
        let error = copy(io::repeat(0), 10, "a", &mut out, &mut |_, _| ()).unwrap_err();
        assert!(matches!(error, SourceError::Archive { .. }) && out.is_empty(), "{error}");
    }
}
