//! Bytes of a console or kernel log → lines. Pure.
