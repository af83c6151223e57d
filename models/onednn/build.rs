//! Finds the system's oneDNN and tells where it is, the way the crate in whose place this stands does.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=include");
    let include = ["/usr/include", "/usr/local/include", "/opt/homebrew/include"];
    let Some(include) = include.into_iter().find(|dir| Path::new(dir).join("dnnl.h").is_file()) else {
        println!(
            "cargo::error=dnnl.h is not here: install oneDNN (Debian: libdnnl-dev, Fedora: onednn-devel, Arch: onednn)"
        );
        return;
    };
    let library = Path::new(include).with_file_name("lib");
    println!("cargo::rustc-link-search={}", library.display());
    println!("cargo::rustc-link-lib=dnnl");
    // In front of the system's headers, which it includes.
    println!("cargo::metadata=INCLUDE_PATH={}/include", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::metadata=LIBRARY_PATH={}", library.display());
}
