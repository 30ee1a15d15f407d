//! Parts of a walk that are walked once more, one after the other as if they were one. Which parts, `congestion` says.

use std::ops::Range;

/// Stretches of cells, and how far they have been walked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretches {
    list: Vec<Range<u64>>,
    /// The stretch under way, and the cell that is next in it.
    at: usize,
    next: u64,
    /// How many cells have been walked.
    walked: u64,
}

impl Stretches {
    /// These stretches, whatever their order; none of them twice.
    pub fn new(mut list: Vec<Range<u64>>) -> Self {
        list.retain(|stretch| !stretch.is_empty());
        list.sort_unstable_by_key(|stretch| stretch.start);
        list.dedup_by(|later, earlier| {
            let joins = later.start <= earlier.end;
            if joins {
                earlier.end = earlier.end.max(later.end);
            }
            joins
        });
        let next = list.first().map_or(0, |first| first.start);
        Stretches { list, at: 0, next, walked: 0 }
    }

    /// What is left of the stretch under way.
    pub fn left(&self) -> Option<Range<u64>> {
        self.list.get(self.at).map(|stretch| self.next..stretch.end)
    }

    /// Walks on to this cell of the stretch under way, or to its end.
    pub fn walk_to(&mut self, cell: u64) {
        let Some(stretch) = self.list.get(self.at) else { return };
        self.walked += cell - self.next;
        self.next = cell;
        if cell >= stretch.end {
            self.at += 1;
            self.next = self.list.get(self.at).map_or(cell, |stretch| stretch.start);
        }
    }

    /// How many cells have been walked.
    pub fn walked(&self) -> u64 {
        self.walked
    }

    /// The parts of these that were walked from one count to another.
    pub fn parts(&self, counts: &[Range<u64>]) -> Stretches {
        let mut parts = Vec::new();
        for count in counts {
            let mut before = 0;
            for stretch in &self.list {
                let len = stretch.end - stretch.start;
                let from = count.start.clamp(before, before + len) - before;
                let to = count.end.clamp(before, before + len) - before;
                parts.push(stretch.start + from..stretch.start + to);
                before += len;
            }
        }
        Stretches::new(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_walked_as_one_and_cut_by_what_was_walked() {
        let mut stretches = Stretches::new(vec![30..40, 5..8, 7..10, 20..20]);
        let mut cells = Vec::new();
        while let Some(left) = stretches.left() {
            assert_eq!(stretches.walked(), cells.len() as u64);
            cells.push(left.start);
            stretches.walk_to(left.start + 1);
        }
        assert_eq!(cells, [5, 6, 7, 8, 9, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
        assert_eq!(stretches.parts(&[3..7, 14..15]), Stretches::new(vec![8..10, 30..32, 39..40]));
        assert_eq!(Stretches::new(vec![]).left(), None);
    }
}
