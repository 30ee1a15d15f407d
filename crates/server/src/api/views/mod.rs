//! What the API shows and takes: types of their own, converted by hand from `model`, so that neither binds the other.
//!
//! Views show every field always (null when there is nothing), inputs refuse every field they do not know. What inputs
//! must satisfy beyond their shape is checked by the routes.

pub mod access;
pub mod alert;
pub mod asset;
pub mod dashboard;
pub mod endpoint;
pub mod event;
pub mod exposure;
pub mod finding;
pub mod result;
pub mod segment;
pub mod settings;
pub mod system;
pub mod task;
pub mod words;

use serde::Serialize;
use utoipa::ToSchema;

/// A slice of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items of the slice.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}

impl<T> Page<T> {
    /// A page of views from a page of entities.
    pub fn of<E>(page: store::Page<E>, view: impl FnMut(E) -> T) -> Self {
        Page { items: page.items.into_iter().map(view).collect(), total: page.total }
    }
    /// A slice of a list that is held whole.
    pub fn slice(all: Vec<T>, (offset, limit): (u64, u64)) -> Self {
        let total = all.len() as u64;
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let take = usize::try_from(limit).unwrap_or(usize::MAX);
        Page { items: all.into_iter().skip(skip).take(take).collect(), total }
    }
}
