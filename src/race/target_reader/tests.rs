//! Reading on files that stand still: where a head read begins, what is
//! counted, what is not an error.

use std::io::Write;

use super::*;
use crate::race::read_counter::tests::counts;
use crate::race::targets::{TARGETS, named};

/// A row like `like`'s, about another file.
fn target(path: &Path, like: &str) -> &'static Target {
    let row = named(like).unwrap();
    let access = match row.access {
        Access::Attributes => Access::Attributes,
        Access::TargetReader { head_len, prelude } => Access::TargetReader { head_len, prelude },
    };
    Box::leak(Box::new(Target {
        name: path.display().to_string().leak(),
        access,
        ..*row
    }))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn names() -> Vec<String> {
    vec!["dummy_module".to_owned(), "dummy_module_1".to_owned()]
}

#[test]
fn a_head_read_begins_at_the_last_symbol_of_the_kernels_own() {
    let mut text = String::new();
    for number in 0..20_000 {
        text.push_str(&format!("ffffffff81000000 T symbol_{number}\n"));
    }
    let own = text.len();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    text.push_str("ffffffffa0000000 t init\t[dummy_module]\n");
    let file = file(&text);
    let (names, slot) = (names(), Slot::default());
    let target = target(file.path(), "/proc/kallsyms");
    let mut target_reader = TargetReader::open(target, &names, &slot).unwrap();
    assert_eq!(target_reader.read(Shape::Head).unwrap(), Some(State::Live));
    let offset = target_reader.open.as_ref().unwrap().offset;
    assert_eq!(offset, Some(i64::try_from(last).unwrap()));
    // The module goes, and comes back: the beginning stays where it was.
    file.as_file().set_len(own as u64).unwrap();
    assert_eq!(target_reader.read(Shape::Head).unwrap(), None);
    assert_eq!(target_reader.read(Shape::Whole).unwrap(), None);
    assert_eq!(counts(&slot), [1, 0, 0, 2, 3]);
}

#[test]
fn many_symbols_of_a_module_are_one_sighting() {
    let text = "ffffffff81000000 T _stext\n\
        ffffffffa0000000 t init\t[dummy_module]\n\
        ffffffffa0000010 t exit\t[dummy_module]\n\
        ffffffffa0001000 t init\t[dummy_module_1]\n";
    let file = file(text);
    let (names, slot) = (names(), Slot::default());
    let target = target(file.path(), "/proc/kallsyms");
    let mut target_reader = TargetReader::open(target, &names, &slot).unwrap();
    target_reader.read(Shape::Whole).unwrap();
    assert_eq!(counts(&slot), [2, 0, 0, 0, 1]);
}

#[test]
fn an_attribute_that_is_gone_is_an_absence_and_no_error() {
    let (names, slot) = (names(), Slot::default());
    for row in TARGETS {
        if matches!(row.access, Access::Attributes) {
            let mut target_reader = TargetReader::open(row, &names, &slot).unwrap();
            assert_eq!(
                target_reader.read(Shape::Head).unwrap(),
                None,
                "{}",
                row.name
            );
            target_reader.reopen_if_stale(false, 0).unwrap();
        }
    }
    assert_eq!(counts(&slot), [0, 0, 0, 3, 3]);
    assert!(is_gone(&Errno::ENODEV.into()) && !is_gone(&Errno::EACCES.into()));
}

#[test]
fn an_attribute_is_opened_anew_for_each_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("NAME");
    let target = target(&path, "/sys/module/NAME/initstate");
    let (names, slot) = (names(), Slot::default());
    let mut target_reader = TargetReader::open(target, &names, &slot).unwrap();
    let write = |text| std::fs::write(folder.path().join(&names[0]), text).unwrap();
    write("coming\n");
    assert_eq!(
        target_reader.read(Shape::Head).unwrap(),
        Some(State::Loading)
    );
    std::fs::remove_file(folder.path().join(&names[0])).unwrap();
    assert_eq!(target_reader.read(Shape::Head).unwrap(), None);
    write("going\n");
    assert_eq!(
        target_reader.read(Shape::Whole).unwrap(),
        Some(State::Unloading)
    );
    assert_eq!(counts(&slot), [0, 1, 1, 1, 3]);
}

#[test]
fn only_lines_of_m_show_are_checked() {
    let torn = "no line of proc modules\n";
    let file = file(torn);
    let (names, slot) = (names(), Slot::default());
    for (like, expected) in [("/proc/modules", 1), ("/proc/kallsyms", 0)] {
        let target = target(file.path(), like);
        let mut target_reader = TargetReader::open(target, &names, &slot).unwrap();
        slot.torn.store(0, Ordering::Relaxed);
        target_reader.read(Shape::Whole).unwrap();
        assert_eq!(slot.torn.load(Ordering::Relaxed), expected, "{like}");
    }
}
