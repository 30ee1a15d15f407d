//! portreeve
fn main() {}
