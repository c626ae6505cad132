//! Every format over the same reports, byte by byte. `MODRACE_UPDATE=1` writes
//! the expected files anew; read the difference before committing it.
//!
//! The reports are synthetic: built from the numbers in `common`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{TIMES, clean, comparison, crash, crashes, report, trial};
use modrace::model::{
    Assurance, AtPanic, Blocked, BlockedCount, Conclusion, CrashClass, ExitCode, Exploration,
    ExploredLevel, Held, LevelKind, Oracle, Outcome, OutcomeCount, PlaceCount, ProofFailure,
    ProofStep, Report, ScheduleOutcome, StateCheck, StateSource, Verdict, Warning, Who,
};
use modrace::report::{FORMATS, Format, read, show, svg, validate};
use modrace::verdict::{exit_code, settle};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reports")
}

/// Each sort of verdict, by a name that says what is in it.
fn cases() -> Vec<(&'static str, Report)> {
    let mut crashed = clean(6, 2.0);
    crashed.push(trial(6, Outcome::Crashed, 1.75, 175));
    crashed[6].at_panic = at_panic();
    crashed.push(trial(7, Outcome::Broken, 0.0, 0));
    let broken = vec![trial(0, Outcome::Broken, 0.0, 0)];
    vec![
        ("fix-confirmed", comparison(crashes(&TIMES), clean(12, 5.0))),
        (
            "not-enough-exposure",
            comparison(crashes(&TIMES), clean(1, 3.0)),
        ),
        (
            "candidate-crashed",
            comparison(crashes(&TIMES), crashed.clone()),
        ),
        (
            "baseline-never-crashed",
            comparison(clean(10, 5.0), clean(10, 5.0)),
        ),
        ("crashed", report("lab:vulnerable", crashed, 2.0)),
        (
            "survived-without-control",
            report("lab:fixed", clean(5, 60.0), 60.0),
        ),
        ("broken", report("lab:fixed", broken, 60.0)),
        ("explored", explored()),
    ]
}

/// Both sides of a crash: one CPU at its BUG, the other idle, and a loader that
/// waits.
fn at_panic() -> Vec<AtPanic> {
    let seen = |cpu, lock: Option<&str>, frames: &[&str]| AtPanic {
        cpu,
        waits_for: lock.map(str::to_owned),
        frames: frames.iter().map(|&frame| frame.to_owned()).collect(),
        user: false,
        sure: true,
    };
    let idle = ["arch_cpu_idle+0xa", "do_idle+0xd1"];
    let reader = ["module_flags+0xa", "m_show+0x13b", "ksys_pread64+0x5f"];
    let loader = [
        "mutex_lock+0x29",
        "module_unload_free+0x22",
        "free_module+0x23",
        "__x64_sys_delete_module+0x188",
    ];
    vec![
        seen(Some(0), None, &idle),
        seen(Some(1), None, &reader),
        seen(None, Some("module_mutex"), &loader),
    ]
}

/// A search that found something with one stop.
fn explored() -> Report {
    let step = |side, text: &str, place: Option<&str>| ProofStep {
        side,
        cpu: u32::from(side == Who::Reader),
        text: text.to_owned(),
        place: place.map(str::to_owned),
        source: None,
        state: None,
        holder: None,
    };
    let level = |kind, planned, outcomes: &[(ScheduleOutcome, u64)]| ExploredLevel {
        kind,
        places: [1185, 1404],
        planned,
        forced: outcomes.iter().map(|(_, schedules)| schedules).sum(),
        outcomes: outcomes
            .iter()
            .map(|&(outcome, schedules)| OutcomeCount { outcome, schedules })
            .collect(),
        seconds: 2.5,
        ..ExploredLevel::default()
    };
    let mut one_stop = level(
        LevelKind::OneStop,
        4940,
        &[
            (ScheduleOutcome::RanThrough, 12),
            (ScheduleOutcome::Impossible, 3),
            (ScheduleOutcome::Crashed, 1),
        ],
    );
    one_stop.blocked.push(BlockedCount {
        blocked: Blocked {
            side: Who::Loader,
            both_stopped: false,
            function: "mutex_lock".to_owned(),
            caller: None,
            lock: Some("module_mutex".to_owned()),
        },
        schedules: 3,
    });
    one_stop.not_decided.push(PlaceCount {
        place: "waits in wait_for_completion < proc_entry_rundown".to_owned(),
        schedules: 2,
    });
    let through = [(ScheduleOutcome::RanThrough, 85)];
    let mut made = report("lab:fixed-debugfs", Vec::new(), 60.0);
    made.explore = Some(Exploration {
        race: "a driver's files".to_owned(),
        files: vec!["/proc/mydrv".to_owned()],
        levels: vec![level(LevelKind::WholeCalls, 85, &through), one_stop],
        finding: Some(ProofFailure {
            schedule: "read@mod:text_show,unload".to_owned(),
            stops: 1,
            found_at: 16,
            found_after_s: 0.316,
            repeated: true,
            crash: Some(crash(CrashClass::Target)),
            file: Some("/proc/mydrv".to_owned()),
            steps: vec![
                step(
                    Who::Reader,
                    "read, stands before `push %rbp`",
                    Some("mod:text_show"),
                ),
                step(
                    Who::Loader,
                    "unload, waits in wait_for_completion < proc_entry_rundown, after",
                    Some("mod:cleanup_module+0x19"),
                ),
                step(
                    Who::Reader,
                    "goes on: general protection fault in seq_vprintf",
                    None,
                ),
            ],
        }),
        budget_s: 300.0,
        boot_s: 2.5,
        limits: vec!["A search that finds nothing proves nothing.".to_owned()],
    });
    settle(&mut made);
    made
}

fn expect(name: &str, actual: &str) {
    let path = folder().join(name);
    if std::env::var_os("MODRACE_UPDATE").is_some() {
        fs::create_dir_all(folder()).unwrap();
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{name}: {error}; MODRACE_UPDATE=1 writes it"));
    assert!(
        expected == actual,
        "{name} differs; MODRACE_UPDATE=1 writes it anew\n{actual}"
    );
}

fn render(format: &str, report: &Report) -> String {
    Format::named(format).unwrap().render(report).unwrap()
}

/// Who reads only one of them must not take it for `/proc/modules`.
#[test]
fn every_format_names_a_target_that_is_not_the_default() {
    let mut made = report("lab:fixed", clean(5, 60.0), 60.0);
    made.settings.target = "/proc/kallsyms".to_owned();
    settle(&mut made);
    assert_eq!(made.verdict, Verdict::Inconclusive);
    for format in FORMATS {
        let text = format.render(&made).unwrap();
        assert!(text.contains("kallsyms"), "{}: {text}", format.name);
        assert!(!text.contains("/proc/modules race"), "{}", format.name);
    }
    let old = serde_json::to_value(report("lab:fixed", clean(1, 1.0), 1.0)).unwrap();
    assert!(old["settings"].get("target").is_none());
    assert!(validate(&made).is_empty());
}

#[test]
fn near_misses_are_counted_where_they_were_the_oracle() {
    let (_, mut report) = cases().remove(0);
    let says = |report: &Report, words: &str| render("text", report).contains(words);
    assert!(!says(&report, "near misses") && !says(&report, "oracle"));
    report.settings.oracle = Oracle::NearMiss;
    report.module.as_mut().unwrap().taints.clear();
    report.trials[0].counters.lines.near_misses = 4711;
    assert!(says(&report, "near misses") && says(&report, "4711"));
    assert!(says(&report, "oracle"));
    assert!(says(&report, "untainted twin"));
}

/// Nobody who reads only one of them may miss that the kernel warned, or what
/// stands behind a pass.
#[test]
fn every_format_tells_warnings_and_what_stands_behind_a_pass() {
    let mut made = comparison(crashes(&TIMES), clean(12, 5.0));
    made.trials[3].warnings = vec![Warning {
        title: "WARNING in m_show".to_owned(),
        count: 3,
        first_line: "WARNING: CPU: 1 PID: 87 at kernel/module/main.c:1011 m_show+0x1/0x2"
            .to_owned(),
    }];
    settle(&mut made);
    assert_eq!(made.verdict, Verdict::Fail);
    let told = |report: &Report| {
        for format in FORMATS {
            // A page escapes nothing of this title; Markdown its underscore.
            let text = format.render(report).unwrap().replace('\\', "");
            assert!(
                text.contains("WARNING in m_show"),
                "{}: {text}",
                format.name
            );
        }
        assert!(show(report).contains("WARNING in m_show"));
    };
    told(&made);
    made.terms.allow_warnings = true;
    settle(&mut made);
    assert_eq!(made.verdict, Verdict::Pass);
    told(&made);
    for format in FORMATS {
        let text = format.render(&made).unwrap();
        assert!(
            text.contains("compared") || text.contains("fix confirmed"),
            "{}",
            format.name
        );
        assert!(text.contains("with warnings"), "{}: {text}", format.name);
    }
    let alone = report("lab:fixed", clean(5, 60.0), 60.0);
    assert_eq!(alone.assurance, Assurance::None);
    for format in FORMATS {
        let text = format.render(&alone).unwrap();
        assert!(
            text.contains("no positive control"),
            "{}: {text}",
            format.name
        );
    }
}

#[test]
fn the_headline_follows_the_verdict_and_not_the_comparison() {
    let mut made = comparison(crashes(&TIMES), clean(12, 5.0));
    assert!(show(&made).contains("PASS (fix confirmed at 99.9 %)"));
    for (outcome, verdict) in [(Outcome::Hung, "FAIL\n"), (Outcome::Broken, "BROKEN\n")] {
        let mut bad = made.clone();
        bad.trials.push(trial(12, outcome, 1.0, 100));
        settle(&mut bad);
        let text = show(&bad);
        assert!(
            text.contains(verdict) && !text.contains("confirmed"),
            "{text}"
        );
    }
    // A comparison that was right before a check of the states failed.
    made.states = vec![StateCheck {
        held: Held::Exit,
        source: StateSource::ProcModules,
        what: "state".to_owned(),
        expected: "Unloading".to_owned(),
        seen: "Loading".to_owned(),
        line: None,
        ok: false,
    }];
    settle(&mut made);
    assert_eq!(
        made.comparison.as_ref().unwrap().conclusion,
        Conclusion::FixConfirmed
    );
    assert!(show(&made).contains("FAIL\n"));
    assert_eq!(exit_code(&made), ExitCode::Crashed);
}

#[test]
fn every_format_of_three_cases_is_as_committed() {
    let committed = ["fix-confirmed", "crashed", "explored"];
    for (name, report) in cases() {
        if !committed.contains(&name) {
            continue;
        }
        for format in FORMATS {
            expect(
                &format!("{name}.{}", format.extension),
                &format.render(&report).unwrap(),
            );
        }
        expect(&format!("{name}.svg"), &svg(&report));
    }
}

#[test]
fn every_case_reads_back_as_it_was_and_is_sound() {
    for (name, report) in cases() {
        let text = render("json", &report);
        let again = read(name, text.as_bytes()).unwrap();
        assert_eq!(again, report, "{name}");
        assert_eq!(validate(&again), [], "{name}");
    }
}

#[test]
fn text_is_ascii_and_75_columns_even_with_a_hostile_kernel() {
    let mut hostile = comparison(crashes(&TIMES), clean(12, 5.0));
    hostile.environment.kernel.version = Some("é".repeat(300));
    hostile.environment.cmdline = Some("x".repeat(500));
    hostile.command.push("--append=a b\u{7}'c'".to_owned());
    let run = hostile.baseline.as_mut().unwrap();
    let crash = run.trials[0].crash.as_mut().unwrap();
    crash.title = "title\nwith a line break ".repeat(20);
    crash.excerpt.push("\u{1b}[31m red".to_owned());
    let mut reports = cases();
    reports.push(("hostile", hostile));
    for (name, report) in reports {
        for line in render("text", &report).lines() {
            assert!(line.len() <= 75, "{name}: {} columns: {line}", line.len());
            assert!(
                line.bytes().all(|b| (b' '..=b'~').contains(&b)),
                "{name}: {line:?}"
            );
        }
    }
}

#[test]
fn text_says_what_a_maintainer_asks_for_and_invents_no_tester() {
    let (_, report) = cases().swap_remove(0);
    let text = render("text", &report);
    for part in [
        "Verdict: PASS (fix confirmed at 99.9 %)",
        "lab:vulnerable",
        "take-the-lock-away.patch",
        "gcc (Debian",
        "config sha256",
        "dummy_module",
        "tcg",
        "modrace ab --baseline lab:vulnerable --candidate lab:fixed --seed \\\n    7021948330112\n",
        "kernel BUG at kernel/module/main.c:2998!",
        "times rarer",
    ] {
        assert!(text.contains(part), "{part:?} is missing from\n{text}");
    }
    assert!(text.ends_with("\nTested-by: \n"), "{text}");
    assert!(!text.contains("Code:"), "{text}");
}

#[test]
fn html_escapes_and_fetches_nothing() {
    let mut report = cases().swap_remove(0).1;
    report.verdict_reason = "<script>alert(1)</script>".to_owned();
    let page = render("html", &report);
    assert!(!page.contains("<script"), "markup got through");
    for fetches in ["src=", "href=", "url(", "@import"] {
        assert!(!page.contains(fetches), "{fetches}");
    }
    let links = page.matches("http").count();
    let namespaces = page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(links, namespaces);
}

#[test]
fn inconclusive_is_green_nowhere() {
    let (name, report) = cases().swap_remove(1);
    assert_eq!(name, "not-enough-exposure");
    assert!(render("ktap", &report).contains("\nnot ok 3 verdict"));
    assert!(render("junit", &report).contains("<error "));
    assert!(render("kcidb", &report).contains("\"status\": \"DONE\""));
    assert!(render("github", &report).starts_with("::warning "));
}

/// Walks to the end, and counts the elements.
fn elements_of_sound_xml(text: &str) -> usize {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut elements, mut open) = (0, 0);
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(_) => {
                elements += 1;
                open += 1;
            }
            Event::End(_) => open -= 1,
            Event::Empty(_) => elements += 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(open, 0, "elements left open");
    elements
}

#[test]
fn svg_and_junit_are_sound_xml() {
    for (name, report) in cases() {
        let marks = report.trials.len();
        assert!(elements_of_sound_xml(&svg(&report)) > 20, "{name}");
        assert!(
            elements_of_sound_xml(&render("junit", &report)) > marks,
            "{name}"
        );
    }
}
