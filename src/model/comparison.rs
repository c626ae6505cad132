//! A comparison: what two runs, a kernel without and with a fix, say together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Environment, Interval, ModuleRecord, RunStats, Settings, Trial, Verdict};

/// The run that another is measured against. The report that holds it speaks of
/// the other one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Where it comes from, when it is a positive control taken from an earlier
    /// report; None when it was run beside the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Where it took place.
    pub environment: Environment,
    /// The module that was loaded and unloaded.
    pub module: Option<ModuleRecord>,
    /// What was asked for.
    pub settings: Settings,
    /// The trials, in order of their index.
    pub trials: Vec<Trial>,
    /// What the trials add up to.
    pub stats: RunStats,
}

/// The report that a positive control was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Start of that run, RFC 3339, UTC.
    pub started: String,
    /// The command that made it.
    pub command: Vec<String>,
    /// Its seed.
    pub seed: u64,
    /// Its `run_id`; empty in reports of versions that had none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run_id: String,
    /// SHA-256 of the report's file.
    pub sha256: String,
}

impl Source {
    /// What tells that run from every other: see `Report::identity`.
    pub fn identity(&self) -> String {
        super::record::run_identity(&self.run_id, self.seed, &self.started)
    }
}

/// What baseline and candidate say together. Every number follows from the
/// trials of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// What follows.
    pub conclusion: Conclusion,
    /// Why, in one sentence.
    pub reason: String,
    /// The confidence asked for, 1 − α.
    pub confidence: f64,
    /// Whether exposure counts beside whole trials. It does not where the times
    /// do not fit an exponential.
    pub extrapolated: bool,
    /// The evidence counted in seconds.
    pub seconds: Evidence,
    /// The evidence counted in load/unload cycles; None when cycles were not
    /// counted.
    pub cycles: Option<Evidence>,
    /// Crash counts compared.
    pub fisher: FisherRecord,
    /// Near misses compared; None unless lines were read for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near_misses: Option<NearMissRecord>,
    /// Survival curves compared; None when a run has no trial, and while the
    /// run is under way.
    pub log_rank: Option<LogRankRecord>,
    /// How rare a bug the candidate's clean cycles would have found, with which
    /// probability. Empty unless the candidate is clean and cycles were counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detectable: Vec<Detectable>,
}

/// The rarest bug that would have been found with a probability: one that makes
/// an unload as dangerous as the baseline's once in so many unloads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detectable {
    /// The probability.
    pub probability: f64,
    /// Once in so many unloads: (T/S)/((1−P)^(−1/r) − 1), in cycles. Below 1 not
    /// even the baseline's own bug would have been found so surely.
    pub once_in: f64,
}

/// What a comparison says about the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The candidate stayed clean for long enough.
    FixConfirmed,
    /// The candidate crashed in the race that the baseline crashed in.
    CandidateCrashed,
    /// Not enough was shown either way; the reason says what is missing.
    Inconclusive,
}

impl Conclusion {
    /// The verdict on the candidate.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::FixConfirmed => Verdict::Pass,
            Self::CandidateCrashed => Verdict::Fail,
            Self::Inconclusive => Verdict::Inconclusive,
        }
    }

    /// The words used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FixConfirmed => "fix confirmed",
            Self::CandidateCrashed => "candidate crashed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// The evidence on one clock, seconds or cycles. Crashes are those of the race
/// that modrace provokes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Crashes of the baseline, r.
    pub baseline_crashes: u32,
    /// Exposure of the baseline, S.
    pub baseline_exposure: f64,
    /// Crashes of the candidate.
    pub candidate_crashes: u32,
    /// Exposure of the candidate, T.
    pub candidate_exposure: f64,
    /// Clean exposure that the confidence needs, S(α^(−1/r) − 1). None without
    /// a crash of the baseline.
    pub needed: Option<f64>,
    /// What is missing of it; 0 when nothing is.
    pub missing: Option<f64>,
    /// Chance of so few crashes were the candidate no better; (1 + T/S)^−r for
    /// a clean one.
    pub p_value: Option<f64>,
    /// The crash is at least this many times rarer, at the confidence asked
    /// for. None unless the candidate is clean.
    pub times_rarer: Option<f64>,
    /// Baseline's crash rate over the candidate's. None unless both crashed.
    pub rate_ratio: Option<f64>,
    /// Its 95 % confidence interval.
    pub rate_ratio_ci95: Option<Interval>,
    /// Whether the baseline's times fit an exponential; None with too few
    /// crashes to tell.
    pub exponentiality: Option<ExponentialityRecord>,
}

/// The likelihood-ratio test of a Weibull's shape against 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExponentialityRecord {
    /// The shape that fits best; 1 is the exponential.
    pub shape: f64,
    /// p value of "the times are exponential".
    pub p_value: f64,
    /// Whether it is rejected, at 5 %.
    pub rejected: bool,
}

/// Fisher's exact test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FisherRecord {
    /// Trials of the baseline that crashed.
    pub baseline_crashed: u32,
    /// Trials of the baseline.
    pub baseline_trials: u32,
    /// Trials of the candidate that crashed.
    pub candidate_crashed: u32,
    /// Trials of the candidate that crashed, or ran at least as long, in
    /// seconds and in cycles, as the baseline's slowest crash took.
    pub candidate_trials: u32,
    /// p value of "the baseline crashes no more often", by Fisher's exact test.
    pub p_value: f64,
    /// The same where nobody fixed the numbers of trials beforehand: Fisher's
    /// times one more than the baseline's trials. This one decides. None unless
    /// the candidate is clean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequential_p: Option<f64>,
    /// Clean trials that the confidence needs; None when no number would do.
    pub needed_trials: Option<u32>,
}

/// Two Poisson rates of near misses, in load/unload cycles: `UNFORMED` set
/// inside `m_show()`, seen on a module that it cannot crash.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearMissRecord {
    /// Near misses of the baseline.
    pub baseline: u64,
    /// Cycles of the baseline.
    pub baseline_cycles: u64,
    /// Near misses of the candidate.
    pub candidate: u64,
    /// Cycles of the candidate.
    pub candidate_cycles: u64,
    /// Boots of the baseline that had a near miss. Near misses come in clusters
    /// within a boot, so boots are what is counted.
    #[serde(default)]
    pub baseline_boots_hit: u32,
    /// Boots of the baseline.
    #[serde(default)]
    pub baseline_boots: u32,
    /// Boots of the candidate with no near miss in as many cycles as any boot
    /// of the baseline that had one.
    #[serde(default)]
    pub candidate_boots_clean: u32,
    /// Clean boots that the confidence needs; None when no number would do.
    #[serde(default)]
    pub needed_boots: Option<u32>,
    /// p value of "the candidate's boots have one no less often", whenever the
    /// runs ended. None unless the candidate is clean.
    #[serde(default)]
    pub boots_p: Option<f64>,
    /// Clean cycles that the confidence needs. None without a near miss of the
    /// baseline.
    pub needed_cycles: Option<f64>,
    /// p value of "the candidate's rate is no lower".
    pub p_value: Option<f64>,
    /// Baseline's rate over the candidate's. None unless both have some.
    pub rate_ratio: Option<f64>,
    /// Its 95 % confidence interval.
    pub rate_ratio_ci95: Option<Interval>,
}

/// The log-rank test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogRankRecord {
    /// (O − E)²/V.
    pub chi2: f64,
    /// From χ² with one degree of freedom.
    pub p_value: f64,
    /// From relabelling the trials.
    pub permutation_p: f64,
    /// Relabellings tried.
    pub permutations: u32,
    /// Whether those were all.
    pub exhaustive: bool,
    /// Seed of the relabelling.
    pub seed: u64,
}
