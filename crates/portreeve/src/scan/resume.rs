//! The file that `--resume` keeps: which sweep it is and how far it has come. Written about once a second, whole and then put
//! in place, so that a kill at any moment leaves the last or the one before. Where a sweep can go on from, `scan` says.

use crate::cli::{Format, ScanArgs};
use crate::scan::UsageError;
use ::scan::Checkpoint;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the file is written. A kill costs at most about this much work, done once more.
const EVERY: Duration = Duration::from_secs(1);

/// A line of results is a kilobyte or two; a file without an end of line in so many bytes is none of ours.
const LONGEST_LINE: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    seed: u64,
    checkpoint: Option<Checkpoint>,
}

/// A sweep that can be gone on with.
#[derive(Debug)]
pub struct Resume {
    path: PathBuf,
    seed: u64,
    from: Option<Checkpoint>,
    written: Instant,
    last: Option<Checkpoint>,
}

impl Resume {
    /// Reads the file if it is there. The seed is the file's, then the caller's, then a new one.
    pub fn open(path: &Path, args: &ScanArgs) -> anyhow::Result<Resume> {
        if !matches!(args.format, Format::Jsonl | Format::Csv) {
            bail!(UsageError("--resume appends results, which only --format jsonl and csv allow".into()));
        }
        let mut resume = Resume {
            path: path.to_owned(),
            seed: args.seed.unwrap_or_else(rand::random),
            from: None,
            written: Instant::now(),
            last: None,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Tried now, so that a wrong path costs no scan.
                resume.write(None)?;
                return Ok(resume);
            }
            Err(e) => return Err(e).with_context(|| format!("resume file `{}` cannot be read", path.display())),
        };
        let state: State = serde_json::from_str(&text).map_err(|e| {
            UsageError(format!(
                "`{}` is not a resume file of this version: {e}\nhint: name the file an earlier run was given with --resume, or one that does not exist yet",
                path.display()
            ))
        })?;
        if args.seed.is_some_and(|seed| seed != state.seed) {
            bail!(UsageError(format!("`{}` is of a sweep with --seed {}", path.display(), state.seed)));
        }
        resume.seed = state.seed;
        resume.from = state.checkpoint;
        Ok(resume)
    }

    /// The seed of the sweep.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Where to go on from; `None` from the beginning.
    pub fn from(&self) -> Option<&Checkpoint> {
        self.from.as_ref()
    }

    /// Whether it is time to write again.
    pub fn is_due(&self) -> bool {
        self.written.elapsed() >= EVERY
    }

    /// Writes down how far the sweep has come. What was found up to there must be on its way to disk already.
    pub fn keep(&mut self, checkpoint: Checkpoint) -> anyhow::Result<()> {
        if self.last.as_ref() != Some(&checkpoint) {
            self.write(Some(checkpoint.clone()))?;
            self.last = Some(checkpoint);
        }
        self.written = Instant::now();
        Ok(())
    }

    /// The sweep is complete: there is nothing to go on with.
    pub fn done(self) -> anyhow::Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("resume file `{}` cannot be removed", self.path.display()))
    }

    fn write(&self, checkpoint: Option<Checkpoint>) -> anyhow::Result<()> {
        let fails = || format!("resume file `{}` cannot be written", self.path.display());
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = File::create(&new).with_context(fails)?;
        serde_json::to_writer(&file, &State { seed: self.seed, checkpoint }).with_context(fails)?;
        file.write_all(b"\n").with_context(fails)?;
        file.sync_data().with_context(fails)?;
        fs::rename(&new, &self.path).with_context(fails)
    }
}

/// Opens the output to append to; a line that a kill cut off is taken away, its endpoint will be told again. The second value
/// says whether the file has anything in it.
pub fn append(path: &Path) -> io::Result<(File, bool)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let begin = file.metadata()?.len().saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(begin))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let whole = begin + end.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1);
    file.set_len(whole)?;
    file.seek(SeekFrom::End(0))?;
    Ok((file, whole > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_off_by_a_kill_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        for (before, after) in [("", ""), ("one\ntwo\n", "one\ntwo\n"), ("one\ntw", "one\n"), ("on", "")] {
            let path = dir.path().join("found.jsonl");
            fs::write(&path, before).unwrap();
            let (mut file, begun) = append(&path).unwrap();
            file.write_all(b"next\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{after}next\n"), "{before:?}");
            assert_eq!(begun, !after.is_empty());
        }
    }
}
