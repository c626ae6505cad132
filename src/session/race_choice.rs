//! Which race is run: a row of the table with its own numbers, or what a
//! driver's author asks for. What does not go together is refused here.

use std::path::PathBuf;

use super::exit::Failure;
use super::request::Request;
use crate::build::module_image::ModuleImage;
use crate::model::{DriverSettings, Oracle, Settings, Strategy};
use crate::race::action::{LoaderAction, ReaderAction, files};
use crate::race::races::{self, RaceRow};
use crate::race::targets::{self, TARGETS};

/// The target of a race that has no readers.
const NO_TARGET: &str = "nothing";
/// Readers of a driver's files, unless told otherwise.
const DRIVER_READERS: u32 = 2;

/// What readers open, as it is asked for. All empty: what the race has.
#[derive(Clone, Debug, Default)]
pub struct ReadRequest {
    /// One row of the table of targets, or paths and patterns of a driver's.
    pub targets: Vec<String>,
    /// What readers do to a driver's files.
    pub action: Option<ReaderAction>,
    /// What the actions that write write.
    pub text: Option<String>,
    /// The module's parameters.
    pub parameters: Option<String>,
    /// Modules that are loaded before it, in this order.
    pub with: Vec<PathBuf>,
    /// Whether what appears when it is loaded is raced.
    pub discover: bool,
}

impl Request {
    /// A request for a row of the table, with the numbers that it has.
    pub fn of_race(row: &RaceRow) -> Self {
        let mut request = Self::default();
        let settings = &mut request.settings;
        row.name.clone_into(&mut settings.race);
        settings.loaders = row.loaders;
        settings.readers = row.readers;
        settings.smp = row.smp;
        row.append.clone_into(&mut settings.append);
        let target = row.targets.first().copied().unwrap_or(NO_TARGET);
        target.clone_into(&mut settings.target);
        request
    }

    /// Takes in what readers are to open.
    pub fn read(&mut self, asked: ReadRequest) -> Result<(), Failure> {
        let row = self.row()?;
        let asks_for_actions = asked.action.is_some()
            || asked.discover
            || asked.parameters.is_some()
            || !asked.with.is_empty();
        if !row.is_default() {
            let name = row.name;
            return match asked.targets.first() {
                Some(target) => Err(Failure::usage(format!(
                    "--race {name} has targets of its own, not {target}"
                ))),
                None if asks_for_actions || self.module.is_some() => Err(Failure::usage(format!(
                    "--race {name} has a module and actions of its own: leave out --module, \
                     --action, --discover, --params and --with"
                ))),
                None => Ok(()),
            };
        }
        match &asked.targets[..] {
            [] if !asks_for_actions => return Ok(()),
            [one] if !asks_for_actions && targets::named(one).is_some() => {
                self.settings.target.clone_from(one);
                return Ok(());
            }
            _ => {}
        }
        self.drive(asked)
    }

    /// A driver of one's own.
    fn drive(&mut self, asked: ReadRequest) -> Result<(), Failure> {
        for target in &asked.targets {
            files::check(target).map_err(|why| {
                let known: Vec<_> = TARGETS.iter().map(|row| row.name).collect();
                Failure::usage(format!("--target {target}: {why}"))
                    .hint(format!("known targets: {}; or any path", known.join(", ")))
            })?;
        }
        let action = asked.action.unwrap_or(ReaderAction::OpenRead);
        let reads = action != ReaderAction::Nothing;
        if reads && asked.targets.is_empty() && !asked.discover {
            return Err(Failure::usage("nothing to open").hint(
                "name the driver's files with --target, or let modrace find them with \
                 --discover, or race loads and unloads alone with --action nothing",
            ));
        }
        if !reads && (!asked.targets.is_empty() || asked.discover) {
            return Err(Failure::usage(
                "--action nothing has no readers, and so no --target and no --discover",
            ));
        }
        let settings = &mut self.settings;
        settings.readers = if reads { DRIVER_READERS } else { 0 };
        settings.target = (asked.targets.first()).map_or(NO_TARGET.to_owned(), Clone::clone);
        let names = asked.with.iter().map(|path| {
            let image = ModuleImage::open(path)
                .map_err(|error| Failure::from(error).hint(format!("--with {}", path.display())))?;
            Ok(image.name().to_owned())
        });
        settings.driver = Some(DriverSettings {
            targets: asked.targets,
            action: action.as_str().to_owned(),
            // Shells hand over `\n` as it is typed.
            text: (asked.text).map_or("1\n".to_owned(), |text| text.replace("\\n", "\n")),
            parameters: asked.parameters.unwrap_or_default(),
            with: names.collect::<Result<_, Failure>>()?,
            discover: asked.discover,
        });
        self.with = asked.with;
        Ok(())
    }

    /// The row of the table that the settings name.
    pub fn row(&self) -> Result<&'static RaceRow, Failure> {
        races::named(&self.settings.race)
            .ok_or_else(|| Failure::usage(format!("no race {} is known", self.settings.race)))
    }

    /// What a row of the table, or a driver, leaves to be chosen.
    pub(super) fn check_choice(&self) -> Result<(), Failure> {
        let row = self.row()?;
        let settings = &self.settings;
        if self.mended && !row.is_drivers() {
            return Err(Failure::usage(format!(
                "--mended: --race {} is a kernel's, not a driver's mistake that could be mended",
                row.name
            )));
        }
        if settings.readers == 0 && !may_have_no_readers(settings, row) {
            return Err(Failure::usage("--readers 0: at least 1 is needed"));
        }
        if !settings.is_other_race() {
            return Ok(());
        }
        let race = match settings.driver {
            Some(_) => "a race of your driver's files".to_owned(),
            None => format!("--race {}", row.name),
        };
        let refused = |what: &str| {
            Err(Failure::usage(format!(
                "{what} belong to the default race; {race} has actions of its own"
            )))
        };
        if settings.oracle == Oracle::NearMiss {
            return refused("--oracle near-miss and its twin");
        }
        if settings.strategy != Strategy::Auto || !settings.arms.is_empty() {
            return refused("--strategy and --arms");
        }
        if settings.driver.is_some() && settings.loaders > 1 {
            return Err(Failure::usage(format!(
                "--loaders {}: a driver's files have one name, so one loader races it",
                settings.loaders
            )));
        }
        if settings.driver.is_none() && row.loader == LoaderAction::Duel && settings.loaders != 2 {
            return Err(Failure::usage(format!(
                "--loaders {}: --race {} takes two",
                settings.loaders, row.name
            )));
        }
        if settings.readers > 0 && may_have_no_readers(settings, row) {
            return Err(Failure::usage(format!(
                "--readers {}: {race} has none",
                settings.readers
            )));
        }
        Ok(())
    }
}

fn may_have_no_readers(settings: &Settings, row: &RaceRow) -> bool {
    match &settings.driver {
        Some(driver) => driver.action == ReaderAction::Nothing.as_str(),
        None => row.reader == ReaderAction::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DEFAULT_RACE, ExitCode};

    fn reads(targets: &[&str]) -> ReadRequest {
        ReadRequest {
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            ..ReadRequest::default()
        }
    }

    fn asked(race: &str, read: ReadRequest) -> Result<Request, Failure> {
        let mut request = Request::of_race(races::named(race).unwrap());
        request.read(read)?;
        request.check_choice()?;
        Ok(request)
    }

    #[test]
    fn a_target_of_the_table_is_read_as_ever() {
        for targets in [&[][..], &["/proc/kallsyms"], &["/proc/modules"]] {
            let request = asked(DEFAULT_RACE, reads(targets)).unwrap();
            assert_eq!(request.settings.driver, None, "{targets:?}");
        }
    }

    #[test]
    fn any_other_path_is_a_drivers() {
        let request = asked(DEFAULT_RACE, reads(&["/proc/{module}", "/dev/{module}*"])).unwrap();
        let driver = request.settings.driver.unwrap();
        assert_eq!(driver.targets.len(), 2);
        assert_eq!(driver.action, "open-read");
        let looked_up = ReadRequest {
            action: Some(ReaderAction::Stat),
            ..reads(&["/proc/kallsyms"])
        };
        let request = asked(DEFAULT_RACE, looked_up).unwrap();
        assert_eq!(request.settings.driver.unwrap().action, "stat");
    }

    #[test]
    fn every_row_gives_a_request_that_passes() {
        for row in races::RACES {
            let request = asked(row.name, ReadRequest::default()).unwrap();
            assert_eq!(request.settings.readers, row.readers, "{}", row.name);
            assert_eq!(request.settings.is_other_race(), !row.is_default());
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let nothing = ReadRequest {
            action: Some(ReaderAction::Nothing),
            ..reads(&["/proc/x"])
        };
        let write = ReadRequest {
            action: Some(ReaderAction::Write),
            ..ReadRequest::default()
        };
        let with = ReadRequest {
            with: vec!["/none.ko".into()],
            ..reads(&["/proc/x"])
        };
        for (race, read, named) in [
            (DEFAULT_RACE, reads(&["proc/x"]), "proc/x"),
            (DEFAULT_RACE, reads(&["nonsense"]), "nonsense"),
            (DEFAULT_RACE, write.clone(), "nothing to open"),
            (DEFAULT_RACE, nothing, "--action nothing"),
            (DEFAULT_RACE, with, "none.ko"),
            ("no-owner", reads(&["/proc/x"]), "/proc/x"),
            ("no-owner", write, "actions of its own"),
        ] {
            let failure = asked(race, read).unwrap_err();
            assert_eq!(failure.code, ExitCode::Usage, "{named}");
            let text = format!("{:#}", failure.error);
            assert!(text.contains(named), "{named}: {text}");
        }
    }

    #[test]
    fn numbers_that_a_race_cannot_have_are_refused() {
        let refused = |race: &str, change: fn(&mut Request)| {
            let mut request = Request::of_race(races::named(race).unwrap());
            change(&mut request);
            request.check_choice().unwrap_err().error.to_string()
        };
        let text = refused("duplicate-load", |request| request.settings.loaders = 3);
        assert!(text.contains("takes two"), "{text}");
        let text = refused("timer-left", |request| request.settings.readers = 1);
        assert!(text.contains("has none"), "{text}");
        let text = refused("cdev-open", |request| request.settings.readers = 0);
        assert!(text.contains("at least 1"), "{text}");
        let text = refused("cdev-open", |request| request.mended = true);
        assert!(text.contains("--mended"), "{text}");
        let text = refused("cdev-open", |request| {
            request.settings.oracle = Oracle::NearMiss;
        });
        assert!(text.contains("near-miss"), "{text}");
    }
}
