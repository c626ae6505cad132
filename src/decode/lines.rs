//! File and line of addresses, from debug information.

use std::path::{Component, Path, PathBuf};

use addr2line::FrameIter;
use gimli::Reader;
use object::{Object, ObjectSymbol};

/// A function of the kernel that every configuration has, and its file: what
/// stands before that in its path is where the source lay when it was built.
const KNOWN: (&str, &str) = ("kernel_init", "init/main.c");

/// Lines of an ELF file's addresses.
#[derive(Default)]
pub struct Lines {
    debug: Option<addr2line::Loader>,
    /// Where the source lay, with the last slash.
    base: Option<String>,
}

/// A function that an address lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its name, as the debug information has it.
    pub function: Option<String>,
    /// `file:line`.
    pub source: Option<String>,
}

impl Lines {
    /// Those that a file tells, if there is one that does.
    pub fn of(path: Option<&Path>) -> Self {
        let lines = path.and_then(|path| {
            let bytes = std::fs::read(path).ok()?;
            Self::new(path, &object::File::parse(&*bytes).ok()?).ok()
        });
        lines.unwrap_or_default()
    }

    /// A file's debug information, of which all else was read already; why that
    /// cannot be done in words.
    pub fn new(path: &Path, elf: &object::File<'_>) -> Result<Self, String> {
        let debug = addr2line::Loader::new(path).map_err(|error| error.to_string())?;
        let base = base(&debug, elf);
        let debug = Some(debug);
        Ok(Self { debug, base })
    }

    /// The functions that an address lies in: those that the compiler put into
    /// one another, innermost first, and the one that they were put into.
    pub fn places(&self, address: u64) -> Vec<Place> {
        let found = self.debug.as_ref().map(|debug| debug.find_frames(address));
        match found {
            Some(Ok(frames)) => places(frames, self.base.as_deref()),
            _ => Vec::new(),
        }
    }

    /// `file:line` of an address: the innermost function's.
    pub fn at(&self, address: u64) -> Option<String> {
        self.places(address).into_iter().next()?.source
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

/// Where the source lay, with the last slash.
fn base(debug: &addr2line::Loader, elf: &object::File<'_>) -> Option<String> {
    let known = elf
        .symbols()
        .find(|symbol| symbol.name() == Ok(KNOWN.0) && symbol.is_definition())?;
    let location = debug.find_location(known.address()).ok()??;
    let file = normal(location.file?);
    file.strip_suffix(KNOWN.1).map(str::to_owned)
}

/// What frames of debug information say, with `base` left out of their paths.
pub(super) fn places<R: Reader>(mut frames: FrameIter<'_, R>, base: Option<&str>) -> Vec<Place> {
    let mut places = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.as_ref().and_then(|function| {
            let name = function.raw_name().ok()?;
            Some(name.into_owned())
        });
        let source = frame.location.and_then(|location| {
            let file = normal(location.file?);
            let file = file.strip_prefix(base.unwrap_or_default()).unwrap_or(&file);
            Some(format!("{file}:{}", location.line?))
        });
        places.push(Place { function, source });
    }
    places
}

/// A path without `.` and `..`: a build in a folder of its own names its source
/// by a way back from there.
fn normal(file: &str) -> String {
    let mut path = PathBuf::new();
    for part in Path::new(file).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if path.file_name().is_some() => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_straight_to_its_file() {
        assert_eq!(
            normal("/src/linux/build/../kernel/./module/main.c"),
            "/src/linux/kernel/module/main.c"
        );
        assert_eq!(normal("../fs/seq_file.c"), "../fs/seq_file.c");
        assert_eq!(normal("./fs/seq_file.c"), "fs/seq_file.c");
    }
}
