//! A driver of one's own, as typed: what is opened, how, and with what. Checked
//! here as far as it can be without a kernel; a guest says the rest.

use super::Failure;
use super::args::RaceArgs;
use crate::build::module_image::ModuleImage;
use crate::model::{DriverSettings, ExitCode};
use crate::race::action::{ReaderAction, files};
use crate::race::targets::{self, TARGETS, Target};

/// What readers read.
#[derive(Clone, Debug)]
pub(super) enum Read {
    /// A row of the table of targets, in the default race's way.
    Row(&'static Target),
    /// What a driver's author asks for.
    Driver(DriverSettings),
}

fn usage(text: String) -> Failure {
    Failure::message(ExitCode::Usage, text)
}

/// What was typed of targets, actions and parameters.
pub(super) fn read(race: &RaceArgs) -> Result<Read, Failure> {
    let asks_for_actions =
        race.action.is_some() || race.discover || race.params.is_some() || !race.with.is_empty();
    if !race.race.is_default() {
        return match race.target.first() {
            Some(target) => Err(usage(format!(
                "--race {} has targets of its own, not {target}",
                race.race.name
            ))),
            None if asks_for_actions || race.module.is_some() => Err(usage(format!(
                "--race {} has a module and actions of its own: leave out --module, --action, \
                 --discover, --params and --with",
                race.race.name
            ))),
            None => Ok(Read::Row(&TARGETS[0])),
        };
    }
    match &race.target[..] {
        [] if !asks_for_actions => return Ok(Read::Row(&TARGETS[0])),
        [one] if !asks_for_actions => {
            if let Some(row) = targets::named(one) {
                return Ok(Read::Row(row));
            }
        }
        _ => {}
    }
    driver(race).map(Read::Driver)
}

fn driver(race: &RaceArgs) -> Result<DriverSettings, Failure> {
    for target in &race.target {
        files::check(target).map_err(|why| {
            let known: Vec<_> = TARGETS.iter().map(|row| row.name).collect();
            usage(format!("--target {target}: {why}"))
                .hint(format!("known targets: {}, or any path", known.join(", ")))
        })?;
    }
    let action = race.action.unwrap_or(ReaderAction::OpenRead);
    let reads = action != ReaderAction::Nothing;
    if reads && race.target.is_empty() && !race.discover {
        return Err(usage("nothing to open".to_owned()).hint(
            "name the driver's files with --target, or let modrace find them with --discover, \
             or race loads and unloads alone with --action nothing",
        ));
    }
    if !reads && (!race.target.is_empty() || race.discover) {
        return Err(usage(
            "--action nothing has no readers, and so no --target and no --discover".to_owned(),
        ));
    }
    if race.loaders.is_some_and(|loaders| loaders > 1) {
        return Err(usage(
            "--loaders: a driver's files have one name, so one loader races it".to_owned(),
        ));
    }
    let text = race.text.clone();
    Ok(DriverSettings {
        targets: race.target.clone(),
        action: action.as_str().to_owned(),
        text: text.map_or_else(|| "1\n".to_owned(), |text| unescaped(&text)),
        parameters: race.params.clone().unwrap_or_default(),
        with: race
            .with
            .iter()
            .map(|path| Ok(open(path)?.name().to_owned()))
            .collect::<Result<_, Failure>>()?,
        discover: race.discover,
    })
}

/// A module file that was named.
pub(super) fn open(path: &std::path::Path) -> Result<ModuleImage, Failure> {
    ModuleImage::open(path).map_err(|error| {
        Failure::new(ExitCode::Usage, error).hint(format!("{} is no module", path.display()))
    })
}

/// Shells hand over `\n` as it is typed.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        race: RaceArgs,
    }

    fn typed(words: &str) -> Result<Read, Failure> {
        let words = std::iter::once("x").chain(words.split_whitespace());
        read(&Typed::try_parse_from(words).unwrap().race)
    }

    #[test]
    fn a_target_of_the_table_is_read_as_ever() {
        for words in ["", "--target /proc/kallsyms", "--target /proc/modules"] {
            assert!(matches!(typed(words), Ok(Read::Row(_))), "{words}");
        }
    }

    #[test]
    fn any_other_path_is_a_drivers_and_is_read() {
        let Ok(Read::Driver(driver)) = typed("--target /proc/{module} --target /dev/{module}*")
        else {
            panic!("not a driver's");
        };
        assert_eq!(driver.targets.len(), 2);
        assert_eq!(driver.action, "open-read");
        let Ok(Read::Driver(driver)) = typed("--target /proc/kallsyms --action stat") else {
            panic!("not a driver's");
        };
        assert_eq!(driver.action, "stat");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (words, named) in [
            ("--target proc/x", "proc/x"),
            ("--target nonsense", "nonsense"),
            ("--action write", "nothing to open"),
            ("--action nothing --target /proc/x", "--action nothing"),
            ("--race kallsyms-unformed --target /proc/x", "/proc/x"),
            ("--race kallsyms-unformed --action stat", "actions of its own"),
            ("--race no-owner --module /x.ko", "--module"),
            ("--target /proc/x --loaders 2", "--loaders"),
            ("--module x.ko --with /none.ko --target /x", "none.ko"),
        ] {
            let failure = typed(words).unwrap_err();
            assert_eq!(failure.code, ExitCode::Usage, "{words}");
            let text = format!("{:#}", failure.error);
            assert!(text.contains(named), "{words}: {text}");
        }
    }
}
