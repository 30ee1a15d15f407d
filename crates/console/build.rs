//! Refuses to put a missing or stale console into a release binary. It never runs npm: building the console is
//! `cargo xtask build`'s work, and `cargo test` has to do without node.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// What the console is built from, relative to `web/`. Keep equal to `SOURCES` in `web/build/source-hash.ts`.
const SOURCES: [&str; 8] =
    ["build", "index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts"];

fn main() {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let web = PathBuf::from(manifest).join("../../web");
    println!("cargo::rerun-if-env-changed=PORTREEVE_NO_CONSOLE");
    println!("cargo::rerun-if-changed={}", web.join("dist").display());
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", web.join(source).display());
    }
    // rust-embed's derive fails on a folder that does not exist, and a fresh checkout has none.
    let _ = fs::create_dir_all(web.join("dist"));

    let release = std::env::var("PROFILE").as_deref() == Ok("release");
    let wanted = std::env::var("PORTREEVE_NO_CONSOLE").as_deref() != Ok("1");
    if release
        && wanted
        && let Err(why) = check(&web)
    {
        println!("cargo::error={why}");
        println!("cargo::error=hint: `cargo xtask build` builds the console too; PORTREEVE_NO_CONSOLE=1 builds without it");
    }
}

/// Whether `dist` holds a console built from the present sources.
fn check(web: &Path) -> Result<(), String> {
    if !web.join("dist/index.html").is_file() {
        return Err("the console is not built: web/dist/index.html is missing".into());
    }
    let built = fs::read_to_string(web.join("dist/.source-hash")).unwrap_or_default();
    if built.trim() != source_hash(web) {
        return Err("the console in web/dist is older than its sources".into());
    }
    Ok(())
}

/// The same number as `sourceHash` in `web/build/source-hash.ts`: times of files would not do, because a checkout sets
/// them all to now.
fn source_hash(web: &Path) -> String {
    let mut paths = Vec::new();
    for source in SOURCES {
        collect(web, source, &mut paths);
    }
    paths.sort();
    let mut hash = Sha256::new();
    for path in paths {
        hash.update(&path);
        hash.update([0]);
        let bytes = fs::read(web.join(&path)).unwrap_or_default();
        // A checkout on another system may turn line ends around.
        hash.update(bytes.into_iter().filter(|&byte| byte != b'\r').collect::<Vec<u8>>());
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All files under `at`, as paths relative to `web` with forward slashes, hidden ones left out.
fn collect(web: &Path, at: &str, into: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(web.join(at)) else {
        into.push(at.to_owned());
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{at}/{name}");
        if entry.path().is_dir() {
            collect(web, &path, into);
        } else {
            into.push(path);
        }
    }
}
