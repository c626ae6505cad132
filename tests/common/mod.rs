//! Reports and trials for tests, built from nothing but their numbers.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part, and fails by panicking"
)]

use std::sync::LazyLock;

use modrace::model::{
    Accel, Assurance, ChaosChoice, Comparison, Counters, Crash, CrashClass, DEFAULT_TARGET, Domain,
    Environment, KernelRecord, ModuleRecord, Oracle, Outcome, Report, Run, RunStats, SCHEMA,
    Settings, Strategy, Terms, Tool, Trial, Verdict, derive,
};
use modrace::verdict::{Question, compare, settle};

pub(crate) const SEED: u64 = 7_021_948_330_112;

pub(crate) fn trial(index: u32, outcome: Outcome, seconds: f64, cycles: u64) -> Trial {
    let crashed = outcome == Outcome::Crashed;
    let mut counters = Counters::default();
    counters.sightings.live = cycles;
    counters.sightings.unloading = cycles;
    let reason = match outcome {
        Outcome::Crashed => "the kernel hit a BUG",
        Outcome::Survived => "raced its time, kernel in order",
        Outcome::Hung => "no progress for 10 s",
        Outcome::Died => "the machine rebooted, and nothing says why",
        Outcome::Broken => "the guest never spoke",
        Outcome::Unsupported => "the kernel has no modules",
    };
    Trial {
        exposure_s: seconds,
        cycles,
        reads: cycles * 2000,
        time_to_crash_s: crashed.then_some(seconds),
        cycles_to_crash: crashed.then_some(cycles + 1),
        crash: crashed.then(|| crash(CrashClass::Target)),
        counters,
        signals: vec!["console".to_owned()],
        wall_s: seconds + 2.5,
        ..Trial::new(
            index,
            derive(SEED, Domain::Trial, index.into()),
            outcome,
            reason,
        )
    }
}

/// A crash as the scanner reads it from a log, under the class asked for.
pub(crate) fn crash(class: CrashClass) -> Crash {
    const LOG: &str = "\
[    1.251] ------------[ cut here ]------------
[    1.251] kernel BUG at kernel/module/main.c:2998!
[    1.252] invalid opcode: 0000 [#1] SMP NOPTI
[    1.252] CPU: 1 PID: 87 Comm: reader/1 Tainted: G           O       6.1.192 #2
[    1.253] RIP: 0010:module_flags+0xb5/0xc0
[    1.254] Code: 48 63 c2 83 c2 01 c6 04 03 29 48 63 d2 eb d9 0f 1f 80 00 00 00 00 48 63 d2 c6 04 13 2d 41 8b 0c 24 8d 50 02 83 f9 01 75 b2 eb cb <0f> 0b
[    1.255] Call Trace:
[    1.256]  <TASK>
[    1.257]  m_show+0x19c/0x1e0
[    1.258]  seq_read_iter+0x2d8/0x430
[    1.259]  </TASK>
[    1.260] ---[ end trace 0000000000000000 ]---
";
    // Simulations make trials by the hundred thousand.
    static FOUND: LazyLock<Crash> =
        LazyLock::new(|| modrace::crash::scan(LOG.as_bytes()).swap_remove(0));
    Crash {
        class,
        ..FOUND.clone()
    }
}

/// Trials that crashed after these seconds, at 100 cycles a second.
pub(crate) fn crashes(seconds: &[f64]) -> Vec<Trial> {
    let one = |(i, &s): (usize, &f64)| {
        let index = u32::try_from(i).unwrap();
        trial(index, Outcome::Crashed, s, cycles(s))
    };
    seconds.iter().enumerate().map(one).collect()
}

/// Trials that ran clean, at 100 cycles a second.
pub(crate) fn clean(count: u32, seconds: f64) -> Vec<Trial> {
    (0..count)
        .map(|i| trial(i, Outcome::Survived, seconds, cycles(seconds)))
        .collect()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a test"
)]
pub(crate) fn cycles(seconds: f64) -> u64 {
    (seconds * 100.0).floor() as u64
}

/// Ten times to crash that an exponential of mean about 0.5 s would give.
pub(crate) const TIMES: [f64; 10] = [
    0.026, 0.081, 0.144, 0.216, 0.299, 0.4, 0.525, 0.693, 0.951, 1.498,
];

pub(crate) fn environment(name: &str) -> Environment {
    Environment {
        kernel: KernelRecord {
            name: name.to_owned(),
            release: Some("6.1.192".to_owned()),
            version: Some("#2 SMP PREEMPT_VOLUNTARY Sun Nov 22 10:00:00 UTC 2026".to_owned()),
            config_sha256: Some("3f".repeat(32)),
            // Another kernel has another image.
            image_sha256: Some(format!("{:02x}", name.len()).repeat(32)),
            compiler: Some("gcc (Debian 12.2.0-14+deb12u1) 12.2.0".to_owned()),
            provenance: Some(
                "linux-source-6.1 6.1.192-1, patch take-the-lock-away.patch".to_owned(),
            ),
            ..KernelRecord::default()
        },
        cpu_model: Some("QEMU TCG CPU version 2.5+".to_owned()),
        cpus: Some(4),
        mem_mib: Some(256),
        accel: Some("tcg".to_owned()),
        preemption: Some("voluntary".to_owned()),
        clock_source: None,
        cmdline: Some("console=ttyS0 panic=-1".to_owned()),
        qemu: Some("7.2.0".to_owned()),
        host_release: Some("6.8.0".to_owned()),
        host_cpus: Some(2),
        tunables: Vec::new(),
    }
}

pub(crate) fn settings(trials: u32, duration_s: f64) -> Settings {
    Settings {
        trials,
        duration_s,
        jobs: 1,
        smp: 4,
        cpus: Vec::new(),
        mem_mib: 256,
        accel: Accel::Tcg,
        loaders: 1,
        readers: 2,
        strategy: Strategy::Auto,
        chaos: ChaosChoice::Auto,
        arms: Vec::new(),
        background_modules: 0,
        append: String::new(),
        start: modrace::model::StartChoice::Boot,
        renew: None,
        oracle: Oracle::Crash,
        race: modrace::model::DEFAULT_RACE.to_owned(),
        driver: None,
        target: DEFAULT_TARGET.to_owned(),
    }
}

/// A report on one kernel.
pub(crate) fn report(name: &str, trials: Vec<Trial>, duration_s: f64) -> Report {
    let asked = u32::try_from(trials.len()).unwrap();
    let settings = settings(asked, duration_s);
    let mut made = Report {
        schema: SCHEMA.to_owned(),
        tool: Tool {
            name: "modrace".to_owned(),
            version: "0.1.0".to_owned(),
        },
        verdict: Verdict::Inconclusive,
        verdict_reason: String::new(),
        assurance: Assurance::None,
        run_id: format!("{:032x}", 0xab_u32),
        complete: true,
        started: "2026-11-22T17:00:00Z".to_owned(),
        updated: "2026-11-22T17:04:00Z".to_owned(),
        command: ["modrace", "vm", "--kernel", name]
            .map(str::to_owned)
            .to_vec(),
        seed: SEED,
        environment: environment(name),
        module: Some(ModuleRecord {
            name: "dummy_module".to_owned(),
            sha256: "5c".repeat(32),
            srcversion: Some("0123456789ABCDEF0123456".to_owned()),
            vermagic: Some("6.1.192 SMP mod_unload".to_owned()),
            taints: "O".to_owned(),
            rewritten: false,
        }),
        settings,
        terms: Terms::default(),
        stats: RunStats::default(),
        states: Vec::new(),
        prove: None,
        explore: None,
        trials,
        baseline: None,
        comparison: None,
        stop_rule: None,
        merged_from: Vec::new(),
    };
    settle(&mut made);
    made
}

/// What the two say together at 99.9 %.
pub(crate) fn compared(baseline: &[Trial], candidate: &[Trial], confidence: f64) -> Comparison {
    compare(&Question {
        settings: &settings(0, 10.0),
        baseline,
        candidate,
        confidence,
        log_rank_seed: Some(SEED),
    })
    .unwrap()
}

/// A report on a candidate beside its baseline.
pub(crate) fn comparison(baseline: Vec<Trial>, candidate: Vec<Trial>) -> Report {
    let mut made = report("lab:fixed", candidate, 10.0);
    made.command = [
        "modrace",
        "ab",
        "--baseline",
        "lab:vulnerable",
        "--candidate",
        "lab:fixed",
    ]
    .map(str::to_owned)
    .to_vec();
    made.terms.confidence = Some(0.999);
    made.baseline = Some(Run {
        source: None,
        environment: environment("lab:vulnerable"),
        module: made.module.clone(),
        settings: made.settings.clone(),
        stats: RunStats::default(),
        trials: baseline,
    });
    settle(&mut made);
    made
}
