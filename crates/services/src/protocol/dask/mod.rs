//! Dask's scheduler and workers: the handshake that a listener sends unasked.
//!
//! Source: Dask Distributed, "Communications" and `distributed/comm`. Nothing is said. Whoever may connect may run code; that is
//! the finding of the checks.

use super::{Codec, Found, Reading};
use crate::bytes::{le, tidy};

pub(crate) const CODEC: Codec = Codec { name: "dask-handshake", request: None, unasked: true, read };

/// A handshake is some hundred bytes in a handful of frames.
const MOST: u64 = 4_096;

fn read(bytes: &[u8]) -> Reading {
    // Since 2021 a message is preceded by its length; then how many frames, how long each is, and the frames.
    let (Some(total), Some(count)) = (le::<8>(bytes, 0), le::<8>(bytes, 8)) else { return Reading::Foreign };
    let bare = total.wrapping_sub(1) < 16;
    let (count, at) = if bare { (total, 8) } else { (count, 16) };
    if !(1..=16).contains(&count) || (!bare && total > MOST) {
        return Reading::Foreign;
    }
    let lengths: Option<Vec<u64>> = (0..count as usize).map(|i| le::<8>(bytes, at + 8 * i)).collect();
    let Some(lengths) = lengths else { return Reading::Partial };
    if lengths.iter().any(|n| *n > MOST) {
        return Reading::Foreign;
    }
    let sum: u64 = lengths.iter().sum();
    let whole = at + 8 * count as usize + sum as usize;
    if bytes.len() < whole {
        return Reading::Partial;
    }
    let frames = &bytes[at + 8 * count as usize..];
    let has = |key: &[u8]| frames.windows(key.len()).any(|w| w == key);
    if bytes.len() != whole || !has(b"compression") || !has(b"pickle-protocol") {
        return Reading::Foreign;
    }
    // MessagePack: the key, then an array of the interpreter's three numbers.
    let key = b"\xa6python\x93";
    let python = frames.windows(key.len()).position(|w| w == key).and_then(|p| frames.get(p + key.len()..p + key.len() + 3));
    let python = python.map_or_else(|| "-".to_owned(), |n| format!("{}.{}.{}", n[0], n[1], n[2]));
    Reading::Is(Found {
        service: "dask".into(),
        product: Some("Dask Distributed".into()),
        shown: Some(tidy(&format!("handshake, Python {python}"), 80)),
        ..Found::default()
    })
}
