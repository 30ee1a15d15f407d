//! Strangers' bytes by the ten thousand: the fuzz targets' corpora whole and cut at every byte, and mutations of them through
//! each parser by itself. None may panic, hang, or take more memory than the input warrants (PR-11).
//!
//! Looking for new samples is left to `scripts/fuzz`.

use services::parsers;
use std::path::Path;
use std::time::{Duration, Instant};

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut samples = Vec::new();
    for name in ["services_answers", "services_codec"] {
        let folder = folder.join(name);
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            // There the first byte only says which codec is meant.
            samples.push(if name == "services_codec" { bytes[1..].to_vec() } else { bytes });
        }
    }
    samples
}

#[test]
fn no_sample_of_the_corpus_panics_a_parser() {
    let samples = corpus();
    assert!(samples.len() >= 100, "{} samples", samples.len());
    let parsers = parsers::each();
    for bytes in samples {
        parsers::all(&bytes);
        // Cut at every byte through what reads lengths; through the patterns, which do not, at a few.
        for (name, parse) in &parsers {
            let step = if ["rules", "checks", "udp"].contains(name) { bytes.len() / 4 + 1 } else { 1 };
            for end in (0..bytes.len()).step_by(step) {
                parse(&bytes[..end]);
            }
        }
    }
}

/// Numbers that a length or a count is wrong by.
const EXTREMES: [u32; 8] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff];

/// xorshift64: the same inputs on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

/// Another input, made of one or two of the samples.
fn mutated(samples: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = samples[chance.below(samples.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(8) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            3 | 4 if at + 4 <= bytes.len() => {
                // In either order of bytes, in one, two or four of them.
                let value = EXTREMES[chance.below(EXTREMES.len())];
                let width = [1, 2, 4][chance.below(3)];
                let bits = if chance.below(2) == 0 { value.to_be_bytes() } else { value.to_le_bytes() };
                bytes[at..at + width].copy_from_slice(&bits[..width]);
            }
            5 => {
                let other = &samples[chance.below(samples.len())];
                let from = chance.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            6 => {
                let end = (at + chance.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let times = chance.below(64);
                let repeated: Vec<u8> = std::iter::repeat_n(piece, times).flatten().collect();
                bytes.splice(at..at, repeated);
            }
            _ => {
                let noise: Vec<u8> = (0..chance.below(24)).map(|_| chance.below(256) as u8).collect();
                bytes.splice(at..at, noise);
            }
        }
    }
    // No reader here is ever handed more than its budget; what a parser does does not depend on the rest.
    bytes.truncate(512);
    bytes
}

/// Inputs for each parser.
const INPUTS: usize = 10_000;
/// No input of half a kilobyte takes a parser that long, on however busy a machine.
const TOO_LONG: Duration = Duration::from_secs(5);

#[test]
fn ten_thousand_mutations_leave_every_parser_standing() {
    let samples = corpus();
    let mut chance = Chance(0x5eed_0f90_974e_0e7e);
    let inputs: Vec<Vec<u8>> = (0..INPUTS).map(|_| mutated(&samples, &mut chance)).collect();
    let parsers = parsers::each();
    assert!(parsers.len() >= 20, "{} parsers", parsers.len());
    std::thread::scope(|scope| {
        for half in [0, 1] {
            let (inputs, parsers) = (&inputs, &parsers);
            scope.spawn(move || {
                for (name, parse) in parsers {
                    for input in inputs.iter().skip(half).step_by(2) {
                        let begun = Instant::now();
                        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parse(input)));
                        let shown =
                            || input.iter().flat_map(|b| std::ascii::escape_default(*b)).map(char::from).collect::<String>();
                        assert!(outcome.is_ok(), "{name} panics on: {}", shown());
                        assert!(begun.elapsed() < TOO_LONG, "{name} took {:?} for: {}", begun.elapsed(), shown());
                    }
                }
            });
        }
    });
}
