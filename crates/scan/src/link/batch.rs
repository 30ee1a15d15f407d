//! Frames of one interface on their way out, back to back in one buffer that is used again and again, so that a frame costs
//! a copy of its template and no allocation. Who fills it is the walker; who empties it is the outlet's sender.

/// Frames of one interface, back to back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    ends: Vec<u32>,
}

impl Batch {
    /// Appends a copy of `frame` and hands the copy out, to be patched where frames differ.
    pub fn push(&mut self, frame: &[u8]) -> &mut [u8] {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len() as u32);
        &mut self.bytes[start..]
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds no frame.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The n-th frame; empty past the end.
    pub fn frame(&self, n: usize) -> &[u8] {
        let start = n.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end as usize);
        let end = self.ends.get(n).map_or(start, |&end| end as usize);
        self.bytes.get(start..end).unwrap_or(&[])
    }

    /// The frames in order.
    #[cfg(test)]
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|n| self.frame(n))
    }

    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_and_were_patched() {
        let mut batch = Batch::default();
        assert!(batch.is_empty() && batch.frame(0).is_empty());
        for round in 0..2 {
            batch.push(b"one");
            batch.push(b"");
            batch.push(b"three")[0] = b'T';
            let frames: Vec<&[u8]> = batch.frames().collect();
            assert_eq!(frames, [&b"one"[..], b"", b"Three"], "round {round}");
            assert_eq!((batch.len(), batch.frame(3)), (3, &b""[..]));
            batch.clear();
            assert_eq!(batch.len(), 0);
        }
    }
}
