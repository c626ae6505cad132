//! The binary: parse, dispatch, print what went wrong, exit.
//! Everything else is in the library.

fn main() {}
