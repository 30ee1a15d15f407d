//! Plans as data: what each of the nine kinds covers, how it is cut, and what is said about what is left out.
mod checks;
mod expansion;
