//! How lists are asked for and answered: a slice of the rows and how many there are in all.
//!
//! Every list of the API and the console goes through these; which limits callers may ask for is `server`'s.

/// Which slice of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Rows to skip.
    pub offset: u64,
    /// Rows to return at most.
    pub limit: u64,
}

impl Paging {
    /// The first `limit` rows.
    pub fn first(limit: u64) -> Self {
        Paging { offset: 0, limit }
    }
}

/// A slice of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows of the slice, in order.
    pub items: Vec<T>,
    /// Rows in the whole list.
    pub total: u64,
}

/// In which order a list comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<K> {
    /// The key.
    pub by: K,
    /// Largest first.
    pub descending: bool,
}
