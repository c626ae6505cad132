//! What is no report, or no sound one: each refused by a message that names the
//! file and the field.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::{TIMES, clean, comparison, crashes, report};
use modrace::model::{
    Assurance, Conclusion, Domain, Held, Oracle, Outcome, Report, Source, StateCheck, StateSource,
    Tool, Trial, Verdict, Warning, derive,
};
use modrace::report::{Format, merge, read, schema, validate, with_control};
use modrace::verdict::settle;
use serde_json::{Value, json};

fn sound() -> Value {
    serde_json::to_value(comparison(crashes(&TIMES), clean(3, 5.0))).unwrap()
}

/// The whole chain of causes, as the terminal shows it.
fn refused(bytes: &[u8]) -> String {
    let error = read("some.json", bytes).expect_err("a broken report was read");
    let error = anyhow::Error::new(error);
    format!("{error:#}")
}

fn refused_with(edit: impl Fn(&mut Value)) -> String {
    let mut value = sound();
    edit(&mut value);
    refused(value.to_string().as_bytes())
}

#[track_caller]
fn names(message: &str, parts: &[&str]) {
    assert!(message.contains("some.json"), "{message}");
    for part in parts {
        assert!(
            message.contains(part),
            "{part:?} is missing from: {message}"
        );
    }
}

#[test]
fn a_sound_report_is_read() {
    read("some.json", sound().to_string().as_bytes()).unwrap();
}

#[test]
fn a_truncated_file_is_said_to_be_cut_off() {
    let text = sound().to_string();
    for at in [0, 1, 100, text.len() / 2, text.len() - 1] {
        names(&refused(&text.as_bytes()[..at]), &["cut off"]);
    }
}

#[test]
fn what_is_not_ours_is_foreign() {
    names(&refused(b"hello"), &["not JSON"]);
    names(&refused(b"\xff\xfe{}"), &["not JSON"]);
    names(&refused(b"{\"benchmarks\": []}"), &["schema: missing"]);
    names(&refused(b"[1, 2]"), &["schema: missing"]);
    names(&refused_with(|r| r["schema"] = json!(7)), &["schema: 7"]);
    names(
        &refused_with(|r| r["schema"] = json!("ctrf/1")),
        &["schema: \"ctrf/1\""],
    );
}

#[test]
fn a_report_from_the_future_is_refused_before_its_fields_are_read() {
    let message = refused(br#"{"schema": "modrace/report/2", "trials": "reshaped"}"#);
    names(&message, &["modrace/report/2", "later modrace"]);
}

#[test]
fn a_field_of_the_wrong_type_is_named_by_its_path() {
    let message = refused_with(|r| r["trials"][1]["exposure_s"] = json!("long"));
    names(&message, &["trials[1].exposure_s", "expected f64"]);
    let message = refused_with(|r| r["baseline"]["trials"][4]["outcome"] = json!("exploded"));
    names(&message, &["baseline.trials[4].outcome", "exploded"]);
    let message = refused_with(|r| {
        r["settings"].as_object_mut().unwrap().remove("loaders");
    });
    names(&message, &["settings", "missing field `loaders`"]);
}

#[test]
fn a_time_that_is_none_is_named() {
    // JSON has no NaN: what writes one writes null, or a word.
    names(
        &refused_with(|r| r["trials"][0]["exposure_s"] = json!(f64::NAN)),
        &["trials[0].exposure_s", "null"],
    );
    let bare = sound()
        .to_string()
        .replacen("\"exposure_s\":5.0", "\"exposure_s\":NaN", 1);
    names(&refused(bare.as_bytes()), &["not JSON", "line 1"]);
    let huge = sound()
        .to_string()
        .replacen("\"exposure_s\":5.0", "\"exposure_s\":1e999", 1);
    names(&refused(huge.as_bytes()), &["out of range"]);
    names(
        &refused_with(|r| r["trials"][2]["exposure_s"] = json!(-1.5)),
        &["trials[2].exposure_s", "-1.5 s is no time"],
    );
    names(
        &refused_with(|r| r["baseline"]["trials"][0]["time_to_crash_s"] = json!(-0.1)),
        &["baseline.trials[0].time_to_crash_s"],
    );
}

#[test]
fn a_seed_that_is_no_whole_small_number_is_named() {
    let max = refused_with(|r| r["seed"] = json!(u64::MAX));
    names(&max, &["seed", "18446744073709551615", "2^53"]);
    let trial = refused_with(|r| r["trials"][0]["seed"] = json!(1_u64 << 53));
    names(&trial, &["trials[0].seed", "2^53"]);
    let too_big = sound().to_string().replacen(
        &format!("\"seed\":{}", common::SEED),
        "\"seed\":18446744073709551616",
        1,
    );
    names(&refused(too_big.as_bytes()), &["seed", "expected u64"]);
}

#[test]
fn outcomes_and_times_must_agree() {
    names(
        &refused_with(|r| r["baseline"]["trials"][0]["time_to_crash_s"] = Value::Null),
        &["baseline.trials[0].time_to_crash_s", "missing"],
    );
    names(
        &refused_with(|r| r["trials"][0]["time_to_crash_s"] = json!(1.0)),
        &["trials[0].time_to_crash_s", "survived"],
    );
    names(
        &refused_with(|r| r["trials"][2]["index"] = json!(0)),
        &["trials[2].index", "stands twice"],
    );
    names(
        &refused_with(|r| {
            r.as_object_mut().unwrap().remove("baseline");
        }),
        &["baseline", "without the baseline's trials"],
    );
}

/// A report of the first release of schema 1: only what it had to have.
#[test]
fn an_older_report_still_loads_and_is_sound() {
    let mut value = serde_json::to_value(report("lab:vulnerable", crashes(&TIMES), 10.0)).unwrap();
    let stats = value["stats"].as_object_mut().unwrap();
    for later in ["hangs", "survived", "termination"] {
        stats.remove(later).unwrap();
    }
    let summary = stats["time_to_crash_s"].as_object_mut().unwrap();
    summary.remove("median_ci95").unwrap();
    summary.remove("p95_ci95").unwrap();
    let old = read("old.json", value.to_string().as_bytes()).unwrap();
    assert_eq!(old.stats.crashes, 10);
    assert_eq!(validate(&old), []);
}

fn edited(edit: impl Fn(&mut Value)) -> Vec<String> {
    let mut value = sound();
    edit(&mut value);
    let report = read("edited.json", value.to_string().as_bytes()).unwrap();
    validate(&report)
        .into_iter()
        .map(|wrong| wrong.field)
        .collect()
}

#[test]
fn validate_names_every_number_that_does_not_follow() {
    assert_eq!(edited(|_| {}), Vec::<String>::new());
    assert_eq!(
        edited(|r| r["stats"]["exposure_s"] = json!(1e6)),
        ["stats.exposure_s"]
    );
    assert_eq!(
        edited(|r| r["baseline"]["stats"]["time_to_crash_s"]["ci95"]["low"] = json!(0.1)),
        ["baseline.stats.time_to_crash_s.ci95.low"]
    );
    assert_eq!(
        edited(|r| r["comparison"]["seconds"]["p_value"] = json!(1e-9)),
        ["comparison.seconds.p_value"]
    );
    assert_eq!(
        edited(|r| r["comparison"]["log_rank"]["permutation_p"] = json!(0.5)),
        ["comparison.log_rank.permutation_p"]
    );
    assert_eq!(
        edited(|r| r["trials"][1]["seed"] = json!(5)),
        ["trials[1].seed"]
    );
}

#[test]
fn validate_sees_trials_that_were_dropped_or_made_longer() {
    let dropped = edited(|r| {
        r["baseline"]["trials"].as_array_mut().unwrap().pop();
    });
    assert!(
        dropped.contains(&"baseline.stats.crashes".to_owned()),
        "{dropped:?}"
    );
    let longer = edited(|r| r["trials"][0]["exposure_s"] = json!(1000.0));
    assert!(
        longer.contains(&"stats.exposure_s".to_owned()),
        "{longer:?}"
    );
    assert!(
        longer.contains(&"comparison.seconds.times_rarer".to_owned()),
        "{longer:?}"
    );
}

#[test]
fn validate_recomputes_verdict_reason_and_assurance_exactly() {
    for (field, lie) in [
        ("verdict", json!("inconclusive")),
        ("verdict", json!("broken")),
        ("verdict_reason", json!("no crash in a million years")),
        ("assurance", json!("control")),
    ] {
        let mut value = serde_json::to_value(enough()).unwrap();
        value[field] = lie;
        let report = read("edited.json", value.to_string().as_bytes()).unwrap();
        let found = validate(&report);
        assert_eq!(found.len(), 1, "{field}: {found:?}");
        assert_eq!(found[0].field, field);
    }
    let mut made = report("lab:vulnerable", crashes(&TIMES), 10.0);
    made.verdict = Verdict::Inconclusive;
    assert_eq!(validate(&made)[0].recomputed, "fail");
}

/// A comparison that is confirmed.
fn enough() -> Report {
    comparison(crashes(&TIMES), clean(12, 5.0))
}

fn fields_of(report: &Report) -> Vec<String> {
    validate(report)
        .into_iter()
        .map(|wrong| wrong.field)
        .collect()
}

#[test]
fn validate_misses_a_comparison_that_was_taken_out() {
    let mut made = enough();
    made.comparison = None;
    assert_eq!(fields_of(&made), ["comparison"]);
}

#[test]
fn validate_sees_what_no_trial_can_be() {
    let with = |edit: fn(&mut Report)| {
        let mut made = enough();
        edit(&mut made);
        fields_of(&made)
    };
    assert_eq!(with(|_| {}), Vec::<String>::new());
    let crash = with(|r| r.trials[2].crash = r.baseline.as_ref().unwrap().trials[0].crash.clone());
    assert_eq!(crash, ["trials[2].crash"]);
    let long = with(|r| r.trials[0].exposure_s = 1000.0);
    let times = long.iter().filter(|field| *field == "trials[0].exposure_s");
    assert_eq!(
        times.count(),
        2,
        "beyond the duration and the wall time: {long:?}"
    );
    let unread = with(|r| r.trials[1].reads = 0);
    assert!(unread.contains(&"trials[1].reads".to_owned()), "{unread:?}");
    let late = with(|r| r.baseline.as_mut().unwrap().trials[3].time_to_crash_s = Some(9.0));
    assert!(
        late.contains(&"baseline.trials[3].time_to_crash_s".to_owned()),
        "{late:?}"
    );
}

fn state(expected: &str, seen: &str, ok: bool) -> StateCheck {
    StateCheck {
        held: Held::Exit,
        source: StateSource::ProcModules,
        what: "state".to_owned(),
        expected: expected.to_owned(),
        seen: seen.to_owned(),
        line: None,
        ok,
    }
}

#[test]
fn validate_sees_states_that_were_edited_or_taken_out() {
    let with = |states: Vec<StateCheck>, made: u32| {
        let mut report = enough();
        report.states = states;
        report.terms.states_checked = Some(made);
        settle(&mut report);
        fields_of(&report)
    };
    let none = Vec::<String>::new();
    for (expected, seen) in [
        ("Unloading", "Unloading"),
        ("more than 16384, its size when live", "28672"),
        (
            "a page in 0xffffffffa0000000..0xffffffffff600000",
            "0xffffffffa0000000",
        ),
        (
            "0x0000000000000000, since kptr_restrict is 2",
            "0x0000000000000000",
        ),
        ("a page, not 0", "0x00000000c0001000"),
    ] {
        assert_eq!(
            with(vec![state(expected, seen, true)], 1),
            none,
            "{expected}"
        );
    }
    for (expected, seen) in [
        ("Unloading", "Loading"),
        ("more than 16384, its size when live", "16384"),
        (
            "a page in 0xffffffffa0000000..0xffffffffff600000",
            "0xffffffffa0000001",
        ),
        ("a page, not 0", "0x0000000000000000"),
    ] {
        assert_eq!(
            with(vec![state(expected, seen, true)], 1),
            ["states[0].ok"],
            "{expected}"
        );
    }
    assert_eq!(
        with(vec![state("Live", "Live", false)], 1),
        ["states[0].ok"]
    );
    assert_eq!(with(Vec::new(), 77), ["states"]);
}

/// Counts that no trial can have are refused before their sum begins anew at 0.
#[test]
fn a_count_beyond_all_counting_is_named() {
    let large = json!(u64::MAX - 5);
    for field in ["cycles", "reads"] {
        names(
            &refused_with(|r| r["trials"][1][field] = large.clone()),
            &["trials[1].", field, "more than any trial can count"],
        );
    }
    let confidence = refused_with(|r| r["comparison"]["confidence"] = json!(1e-12));
    names(
        &confidence,
        &["comparison.confidence", "between 0.5 and 0.999999"],
    );
}

/// The tests on rates must not add up one near miss after another.
#[test]
fn a_thousand_million_near_misses_are_validated_at_once() {
    let hit = |runs: u32, cycles: u64, near_misses: u64| -> Vec<Trial> {
        let mut trials = clean(runs, 5.0);
        for trial in &mut trials {
            (trial.cycles, trial.reads) = (cycles, cycles);
            trial.counters.lines.near_misses = near_misses;
        }
        trials
    };
    for candidate in [0, 1_000_000_000] {
        let baseline = hit(3, 4_000_000_000, 1_000_000_000);
        let mut made = comparison(baseline, hit(2, 4_000_000_000, candidate));
        made.settings.oracle = Oracle::NearMiss;
        settle(&mut made);
        assert_eq!(validate(&made), []);
    }
}

/// Reseeds a run, so that it is another run of the same experiment.
fn reseeded(mut report: Report, seed: u64) -> Report {
    report.seed = seed;
    for trial in &mut report.trials {
        trial.seed = derive(seed, Domain::Trial, trial.index.into());
    }
    report
}

fn source(report: &Report) -> Source {
    Source {
        started: report.started.clone(),
        command: report.command.clone(),
        seed: report.seed,
        run_id: report.run_id.clone(),
        sha256: "0".repeat(64),
    }
}

fn merged(reports: Vec<Report>) -> Result<Report, String> {
    let named = reports.into_iter().enumerate().map(|(i, report)| {
        let source = source(&report);
        (format!("{i}.json"), report, source)
    });
    let tool = Tool {
        name: "modrace".to_owned(),
        version: "0.1.0".to_owned(),
    };
    merge(named.collect(), tool, vec!["modrace".to_owned()]).map_err(|error| error.to_string())
}

/// Another run of the same experiment.
fn another(report: Report, seed: u64) -> Report {
    let mut report = reseeded(report, seed);
    report.run_id = format!("{seed:032x}");
    report
}

#[test]
fn merging_pools_trials_and_stays_sound() {
    let first = report("lab:fixed", clean(3, 5.0), 5.0);
    let second = another(report("lab:fixed", clean(4, 5.0), 5.0), 99);
    let pooled = merged(vec![first, second]).unwrap();
    assert_eq!(pooled.trials.len(), 7);
    assert!((pooled.stats.exposure_s - 35.0).abs() < 1e-9);
    assert_eq!(pooled.settings.trials, 7);
    assert_eq!(pooled.verdict, Verdict::Pass);
    assert_eq!(pooled.merged_from.len(), 2);
    assert_eq!(validate(&pooled), []);
    let text = Format::named("json").unwrap().render(&pooled).unwrap();
    assert_eq!(read("pooled.json", text.as_bytes()).unwrap(), pooled);
}

#[test]
fn a_trial_counts_once_however_often_its_report_is_pooled() {
    let (x, y, z) = (
        report("lab:fixed", clean(3, 5.0), 5.0),
        another(report("lab:fixed", clean(4, 5.0), 5.0), 99),
        another(report("lab:fixed", clean(2, 5.0), 5.0), 100),
    );
    let xy = merged(vec![x.clone(), y.clone()]).unwrap();
    for twice in [
        vec![x.clone(), x.clone()],
        vec![xy.clone(), y.clone()],
        vec![y.clone(), xy.clone()],
        vec![xy.clone(), merged(vec![y.clone(), z.clone()]).unwrap()],
    ] {
        let refused = merged(twice).unwrap_err();
        assert!(
            refused.contains("the same trial of the same run"),
            "{refused}"
        );
    }
    let all = merged(vec![xy, z.clone()]).unwrap();
    assert_eq!((all.trials.len(), all.merged_from.len()), (9, 3));
    assert_eq!(validate(&all), []);
    // Of reports that have no name of their own, start and seed are the name.
    let unnamed = |mut report: Report| {
        report.run_id = String::new();
        report
    };
    let old = merged(vec![unnamed(x.clone()), unnamed(y.clone())]).unwrap();
    assert!(merged(vec![old, unnamed(y.clone())]).is_err());
    let mut nameless = merged(vec![x, y]).unwrap();
    for trial in &mut nameless.trials {
        trial.origin = None;
    }
    let refused = merged(vec![nameless, z]).unwrap_err();
    assert!(refused.contains("did not note which run"), "{refused}");
}

#[test]
fn pooled_trials_keep_the_seeds_of_their_runs() {
    let second = another(report("lab:fixed", clean(4, 5.0), 5.0), 99);
    let mut pooled = merged(vec![report("lab:fixed", clean(3, 5.0), 5.0), second]).unwrap();
    pooled.trials[5].seed ^= 1;
    assert_eq!(fields_of(&pooled), ["trials[5].seed"]);
    pooled.trials[5].seed ^= 1;
    pooled.trials[2].origin.as_mut().unwrap().run_id = "0".repeat(32);
    assert_eq!(fields_of(&pooled), ["trials[2].origin.run_id"]);
}

/// Failed checks and warnings of every run stay, whichever comes first.
#[test]
fn merging_keeps_the_states_and_the_warnings_of_all() {
    let mut failed = report("lab:fixed", clean(3, 5.0), 5.0);
    failed.states = vec![
        state("Unloading", "Loading", false),
        state("Live", "Live", true),
    ];
    let mut warned = another(report("lab:fixed", clean(4, 5.0), 5.0), 99);
    warned.states = vec![state("Live", "Live", true)];
    warned.trials[2].warnings = vec![Warning {
        title: "WARNING in m_show".to_owned(),
        count: 3,
        first_line: "WARNING: CPU: 1".to_owned(),
    }];
    for both in [vec![failed.clone(), warned.clone()], vec![warned, failed]] {
        let pooled = merged(both).unwrap();
        assert_eq!(pooled.states.len(), 2);
        assert_eq!(pooled.verdict, Verdict::Fail);
        assert!(
            pooled.verdict_reason.contains("1 of 2 checks"),
            "{}",
            pooled.verdict_reason
        );
        let warnings = pooled.trials.iter().flat_map(|trial| &trial.warnings);
        assert_eq!(warnings.count(), 1);
        assert_eq!(validate(&pooled), []);
    }
}

#[test]
fn merging_refuses_other_experiments_and_names_the_field() {
    let first = || report("lab:fixed", clean(3, 5.0), 5.0);
    let with = |edit: fn(&mut Report)| {
        let mut second = another(first(), 99);
        edit(&mut second);
        merged(vec![first(), second]).unwrap_err()
    };
    let duration = with(|r| r.settings.duration_s = 7.0);
    assert!(
        duration.contains("1.json: settings.duration_s: 7.0, but 0.json has 5.0"),
        "{duration}"
    );
    let kernel = with(|r| r.environment.kernel.image_sha256 = Some("0".repeat(64)));
    assert!(
        kernel.contains("environment.kernel.image_sha256"),
        "{kernel}"
    );
    let module = with(|r| r.module.as_mut().unwrap().taints = String::new());
    assert!(module.contains("module.taints"), "{module}");
    let chaos = with(|r| r.trials[0].chaos = vec!["offline".to_owned()]);
    assert!(
        chaos.contains("1.json: trials[].chaos: offline, but 0.json has none"),
        "{chaos}"
    );
    let both = merged(vec![first(), comparison(crashes(&TIMES), clean(3, 5.0))]).unwrap_err();
    assert!(both.contains("1.json: baseline"), "{both}");
    assert!(merged(Vec::new()).is_err());
}

fn controlled(candidate: Report, control: Report) -> Result<Report, String> {
    let from = source(&control);
    with_control(("new.json", candidate), ("old.json", control, from), 0.999)
        .map_err(|error| error.to_string())
}

#[test]
fn a_control_earns_a_pass_or_takes_it_away() {
    let control = || another(report("lab:vulnerable", crashes(&TIMES), 5.0), 7);
    let earned = controlled(report("lab:fixed", clean(8, 5.0), 5.0), control()).unwrap();
    assert_eq!(earned.verdict, Verdict::Pass);
    assert_eq!(earned.assurance, Assurance::Control);
    assert!(earned.verdict_reason.starts_with("no crash in 40.0 s"));
    assert_eq!(validate(&earned), []);
    let one = report("lab:fixed", clean(1, 1.0), 5.0);
    assert_eq!(one.verdict, Verdict::Pass, "alone it survived");
    assert_eq!(
        controlled(one, control()).unwrap().verdict,
        Verdict::Inconclusive
    );
}

/// Two runs that differ in what matters to the race are two experiments; each
/// refusal names the field.
#[test]
fn a_control_of_another_machine_module_or_chaos_is_refused_by_name() {
    type Edit = fn(&mut Report);
    let edits: [(&str, Edit); 11] = [
        ("environment.cpus", |r| r.environment.cpus = Some(8)),
        ("environment.mem_mib", |r| r.environment.mem_mib = Some(512)),
        ("environment.accel", |r| {
            r.environment.accel = Some("kvm".to_owned());
        }),
        ("environment.cpu_model", |r| r.environment.cpu_model = None),
        ("environment.host_cpus", |r| {
            r.environment.host_cpus = Some(64);
        }),
        ("environment.qemu", |r| {
            r.environment.qemu = Some("9.0".to_owned());
        }),
        ("environment.preemption", |r| {
            r.environment.preemption = Some("full".to_owned());
        }),
        ("environment.cmdline", |r| {
            r.environment.cmdline = Some("maxcpus=1".to_owned());
        }),
        ("module.srcversion", |r| {
            r.module.as_mut().unwrap().srcversion = Some("AB".to_owned());
        }),
        ("module.taints", |r| {
            r.module.as_mut().unwrap().taints = "PO".to_owned();
        }),
        ("trials[].chaos", |r| {
            r.trials[0].chaos = vec!["offline".to_owned()];
        }),
    ];
    for (field, edit) in edits {
        let mut control = another(report("lab:vulnerable", crashes(&TIMES), 5.0), 7);
        edit(&mut control);
        let refused = controlled(report("lab:fixed", clean(8, 5.0), 5.0), control).unwrap_err();
        assert!(
            refused.starts_with(&format!("new.json: {field}: ")),
            "{refused}"
        );
    }
}

#[test]
fn what_may_matter_is_told_and_what_a_boot_loader_writes_is_not() {
    let mut control = another(report("lab:vulnerable", crashes(&TIMES), 5.0), 7);
    control.environment.kernel.config_sha256 = Some("9e".repeat(32));
    control.environment.mem_mib = Some(257);
    let boot = |kernel: &str| Some(format!("BOOT_IMAGE=/boot/{kernel} ro quiet"));
    control.environment.cmdline = boot("vmlinuz-1");
    let mut run = report("lab:fixed", clean(8, 5.0), 5.0);
    run.environment.cmdline = boot("vmlinuz-2");
    // A kernel that looks for signatures.
    run.module.as_mut().unwrap().taints = "OE".to_owned();
    let made = controlled(run, control).unwrap();
    assert_eq!(made.verdict, Verdict::Pass, "{}", made.verdict_reason);
    let text = Format::named("markdown").unwrap().render(&made).unwrap();
    let text = text.replace('\\', "");
    assert!(
        text.contains("environment.kernel.config_sha256 is 9e9e9e9e9e9e... on the control"),
        "{text}"
    );
}

#[test]
fn a_run_is_no_control_of_itself_or_of_its_own_kernel() {
    let crashed = report("lab:vulnerable", crashes(&TIMES), 5.0);
    let itself = controlled(crashed.clone(), crashed.clone()).unwrap_err();
    assert!(
        itself.contains("the same trial of the same run"),
        "{itself}"
    );
    let again = controlled(another(crashed.clone(), 7), crashed).unwrap_err();
    assert!(
        again.contains("environment.kernel.image_sha256: the same kernel as old.json"),
        "{again}"
    );
}

#[test]
fn a_control_makes_no_pass_of_a_run_that_never_visited_the_window() {
    let control = another(report("lab:vulnerable", crashes(&TIMES), 5.0), 7);
    let mut run = report("lab:fixed", clean(3, 5.0), 5.0);
    for trial in &mut run.trials {
        trial.counters.sightings.unloading = 0;
    }
    let mut seen = controlled(run, control).unwrap();
    assert!(seen.verdict_reason.contains("the window was not visited"));
    assert_eq!(validate(&seen), []);
    seen.verdict = Verdict::Pass;
    assert_eq!(validate(&seen)[0].field, "verdict");
}

#[test]
fn a_control_mends_no_run_that_hung_or_broke() {
    let control = || another(report("lab:vulnerable", crashes(&TIMES), 5.0), 7);
    for (outcome, verdict) in [
        (Outcome::Hung, Verdict::Fail),
        (Outcome::Broken, Verdict::Broken),
    ] {
        let mut trials = clean(50, 5.0);
        trials.push(common::trial(50, outcome, 1.0, 100));
        let bad = controlled(report("lab:fixed", trials, 5.0), control()).unwrap();
        assert_eq!(bad.verdict, verdict);
        let conclusion = bad.comparison.unwrap().conclusion;
        assert!(outcome == Outcome::Broken || conclusion == Conclusion::Inconclusive);
    }
}

#[test]
fn a_control_on_other_settings_is_none() {
    let mut control = another(report("lab:vulnerable", crashes(&TIMES), 5.0), 7);
    control.settings.readers = 3;
    let refused = controlled(report("lab:fixed", clean(3, 5.0), 5.0), control).unwrap_err();
    assert!(
        refused.contains("new.json: settings.readers: 2, but old.json has 3"),
        "{refused}"
    );
}

/// `MODRACE_UPDATE=1` writes the schema anew.
#[test]
fn the_committed_schema_is_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/report-schema.json");
    let made = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("MODRACE_UPDATE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(path).expect("MODRACE_UPDATE=1 writes it");
    assert!(
        committed == made,
        "the types changed; MODRACE_UPDATE=1 writes the schema anew"
    );
}

#[test]
fn reports_follow_the_schema_and_broken_ones_do_not() {
    let schema = serde_json::to_value(schema()).unwrap();
    let checker = jsonschema::validator_for(&schema).unwrap();
    assert!(checker.is_valid(&sound()));
    for (path, wrong) in [
        ("/trials/0/outcome", json!("exploded")),
        ("/seed", json!(-1)),
        ("/stats/crashes", json!("10")),
    ] {
        let mut value = sound();
        *value.pointer_mut(path).unwrap() = wrong;
        assert!(!checker.is_valid(&value), "{path}");
    }
}
