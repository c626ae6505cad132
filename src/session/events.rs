//! Passes the events of a session on to whoever shows them.

use crate::trial::Event;

/// Where a session's events go.
#[derive(Clone, Copy)]
pub struct Events<'a>(&'a dyn Fn(Event));

impl<'a> Events<'a> {
    /// They go to `listener`.
    pub fn to(listener: &'a dyn Fn(Event)) -> Self {
        Self(listener)
    }

    /// Passes an event on.
    pub fn emit(self, event: Event) {
        (self.0)(event);
    }

    /// Something that the user should know now, in a line.
    pub fn note(self, text: impl Into<String>) {
        self.emit(Event::Note(text.into()));
    }
}

impl std::fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}
